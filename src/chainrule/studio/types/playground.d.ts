// What the Python side of Playground tells: see the package playground.

declare namespace playground {
  /** A neuron, or an input in column 0. */
  interface Unit { column: number; row: number }
  /** What there is to choose from. */
  interface Choices {
    /** by name: what they are called */
    data: Record<string, string>;
    features: Record<string, string>;
    activations: string[];
    optimizers: string[];
    rates: number[];
    decays: number[];
    /** 0: all points */
    batches: number[];
    /** by kind: in words, and a number to begin with */
    stops: Record<string, [string, number]>;
    tries: [question: string, lesson: string, settings: Record<string, Value>][];
  }
  interface Wire { layer: number; from: number; to: number }
  interface Frame {
    step: number;
    epoch: number;
    steps_per_epoch: number;
    train_loss: number | null;
    validation_loss: number | null;
    train_accuracy: number | null;
    validation_accuracy: number | null;
    /** where numbers broke, and why the run stopped */
    fault?: string;
    stopped?: string;
    /** the neurons that are dead */
    silent: number[];
    weights: Float32Array;
    /** one plane (the share of class 2, or a value), or one for each class */
    answer: Uint8Array;
    /** a picture for each neuron; 0 is 0 */
    neurons: Int8Array;
    /** of each epoch: its number, training loss, validation loss */
    curve: Float32Array;
  }
  interface Scene {
    count?: number;
    train?: number;
    /** rows of x₁, x₂ and target */
    points: Float32Array;
    training: Uint8Array;
    /** a picture for each input */
    inputs?: Int8Array;
  }
}
