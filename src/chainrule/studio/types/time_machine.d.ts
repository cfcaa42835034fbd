// What the Python side of Time machine tells: see time_machine.py and races.py.

declare namespace time_machine {
  interface Settings { optimizer: string; lr: number; batch_size: number; epochs: number; schedule: string }
  interface Run {
    run: string;
    about: string;
    last: number;
    names: string[];
    shape: number[] | null;
    settings: Settings;
    /** their usual rates */
    optimizers: Record<string, number | null>;
    /** of each epoch: step, training loss, validation loss, validation accuracy */
    history: Float64Array;
  }
  /** The run at a step. */
  interface Moment {
    step: number;
    number: number;
    epoch: number;
    position: number;
    steps_per_epoch: number;
    bars: (number | null)[] | null;
    loss: number | null;
    rate: number;
    digest: string;
    gradients: Record<string, number | null>;
    sheet: { kind: string; name: string; shown: number; total: number; limit: number | null; shape: [number, number] };
    notes: string[];
    code: string;
    values: Int8Array;
    /** the losses of the steps that were passed */
    curve: Float32Array;
  }
  type Metrics = Record<string, number | null>;
  /** A fork that trains. */
  interface Lane {
    number: number;
    state: string;
    is_running: boolean;
    error?: string;
    sentence: string | null;
    from: number;
    step: number | null;
    steps: number | null;
    loss: number | null;
    epochs: number;
    validation_accuracy: number | null;
    test_accuracy: number | null;
    settings: Settings;
    curve: Float32Array;
    history: Float32Array;
  }
}
