// What the Python side of Microscope tells: see the package microscope.

declare namespace microscope {
  interface Layer {
    name: string;
    kind: string;
    /** whether its outputs are weighted sums */
    mixes: boolean;
    /** the shape of its weight */
    weight: number[];
    bias: boolean;
    /** the shape of its input before it was flattened */
    from: number[];
    output: number[];
  }
  interface Network { about: string; classes: string[]; layers: Layer[] }
  interface Factors { values: Float64Array; indices: number[][] }
  interface Step { kind: string; factor: number; input: number; output: number }
  /** How a push to z reaches the cost, or the next layer. */
  interface Way {
    factor: number;
    arriving: number;
    prediction: number | null;
    target: number;
    isSoftmax: boolean;
    count: number;
    steps: Step[];
    weights: Factors;
    deltas: Factors;
  }
  interface Unit { layer: string; index: number[]; z: number; delta: number; sum: number; equation: number; next: string; ways: Way[] }
  interface Difference { h: number; above: number; below: number; slope: number; off: number; left: number; right: number }
  interface Weight {
    name: string;
    index: number[];
    layer: string;
    value: number;
    gradient: number;
    sum: number;
    equation: number;
    isBias: boolean;
    origin: { layer: string; index: number[] } | null;
    difference: Difference;
    update: { optimizer: string; rate: number; rule: string; after: number };
  }
  interface Operation {
    name: string;
    layer: string;
    inputs: (number | string)[];
    shape: number[];
    value: [number, number];
    gradient: [number, number];
  }
  interface Picture { operation: number; shape: number[]; value: Float32Array; gradient: Float32Array }
  interface Seen {
    image: { shape: number[]; count: number; target: number; isAssumed: boolean };
    cost: number;
    says: number;
    code: string;
    network: Network;
    weight: Weight;
    unit: Unit | null;
    operations: Operation[];
    pixels: Float64Array;
    weights: Float64Array;
    deltas: Factors;
    activations: Factors;
  }
}
