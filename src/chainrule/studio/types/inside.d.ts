// What the Python side of Inside tells: see inside.py.

declare namespace inside {
  interface Layer { title: string; size: number; filters: boolean }
  interface Network {
    kind: "images" | "text" | "none";
    run: string;
    runs: string[];
    sentence?: string;
    about: string;
    classes: string[];
    count: number;
    shape: number[];
    drawable: boolean;
    example: string;
    /** of pixels: what they are called, and what they show */
    maps: Record<string, [string, string]>;
    layers: Layer[];
  }
  /** What the network makes of a picture. */
  interface Look {
    answer: number;
    label: number | null;
    probabilities: number[];
    shapes: number[][];
    /** of the layers before each: from, to, flow */
    wires: [number, number, number][][];
    code: string;
    picture: Uint8Array;
    outputs: Float32Array[];
  }
  interface PixelMap { largest: number; pixels: Float32Array }
  interface Accuracy { count: number; before: number; after: number }
  /** A neuron's strongest weights: the other end, and the weight. */
  type Partner = [number, number];
  interface Weights { layer: number; shape: number[]; in: Partner[]; out: Partner[]; pictures: Float32Array }
  interface Top { indices: number[]; labels: number[]; values: number[]; among: string; shape: number[]; pictures: Uint8Array; mean: Float32Array }
  /** What is known of a neuron. */
  interface Neuron { weights?: Weights; top?: Top; waiting?: boolean }
  interface Patterns {
    /** layers, heads, tokens */
    shape: [number, number, number];
    tokens: string[];
    weights: Float32Array;
  }
}
