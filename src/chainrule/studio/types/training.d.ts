// What the Python side of Train tells: see training.py, worker.py and frames.py.

declare namespace training {
  interface Model { name: string; about: string; task: string; optimizer: string; lr: number; schedule: string; batch_size: number; epochs: number }
  /** What can be trained, and how. */
  interface Choices {
    training: string;
    keep: boolean;
    data: { name: string; task: string }[];
    models: Model[];
    optimizers: { name: string; lr: number }[];
    schedules: string[];
  }
  type Result = Record<string, number>;
  interface Change { epoch: number; step: number; settings: { lr?: [number, number] } }
  interface Run {
    run: string;
    about: string;
    task: string;
    epochs: number;
    lr: number;
    schedule: string;
    /** the numbers of each epoch, null for what is not finite */
    records: Record<string, number | null>[];
    changes: Change[];
    result: Result | null;
    command: string;
    is_training: boolean;
  }
  interface State {
    state: string;
    step?: number;
    epoch?: number;
    lr?: number;
    /** the layer where the numbers broke */
    where?: string;
    sentence?: string;
    refused?: string;
    last_good?: number | null;
    result?: Result;
    changes?: Change[];
  }
  interface Frame {
    step: number;
    steps: number;
    epoch: number;
    epochs: number;
    completed: number;
    steps_per_epoch: number;
    speed?: number;
    rate: number;
    mean_accuracy: number | null;
    bars: (number | null)[] | null;
    layers?: { path: string; kind: string; gradient: number | null }[];
    neurons?: { path: string; kind: string; count: number }[];
    histograms?: { name: string; limit: number }[];
    /** how many buffers each part has, after the curve */
    lengths: Record<string, number>;
  }
  interface Picture { shape: number[]; label: string | null; names: string[]; values: Uint8Array }
}
