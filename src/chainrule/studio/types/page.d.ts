// Types of the page's modules (static/), for TypeScript's checker alone: nothing of this is served.

type Value = string | number | boolean;

/** What a view gets, under the contract of anywidget. */
interface Context {
  model: import("../static/model.js").Model;
  el: HTMLElement;
  /** Aborted when the view is left. */
  signal: AbortSignal;
}

/** What a template takes; a function is a listener. */
type Content = object | Value | symbol | null | undefined | ((event: any) => void);
type Template = (strings: TemplateStringsArray, ...values: Content[]) => object;

/** What a view does with what its Python side tells, by `tell`; `error`: with a sentence about what cannot be. */
type Answers = Record<string, (content: any, buffers: DataView[]) => void>;

/** A row of a table of bars. */
interface Bar {
  name: string;
  value: number;
  text: string;
  isBest?: boolean;
}

interface NumberOptions {
  min?: number;
  max?: number;
  /** "any" for numbers that need not be whole. */
  step?: string;
  /** What stands in the field while it is empty. */
  hint?: string;
  /** What an emptied field means; otherwise it gets its number back. */
  emptied?: number;
  off?: boolean;
  name?: string;
}

interface RangeOptions {
  min: number;
  max: number;
  step: number;
  /** The number as it is shown. */
  text?: string;
}

interface PadListener {
  /** The strokes have changed; whether the pen is up again. */
  changed(finished: boolean): void;
  /** The strokes have come from the server, which kept them. */
  loaded?(): void;
  /** Instead of `changed(true)` when only the pen goes up. */
  lifted?(): void;
  /** Before a stroke begins. */
  begun?(): void;
  /** Instead of taking the last stroke away. */
  undo?(): void;
  /** Paints what lies on the pad besides the strokes. */
  under?(context: CanvasRenderingContext2D): void;
  /** A file is dropped or pasted. */
  took?(file: File | undefined): void;
}

/** Arrays side by side. */
interface Tiles {
  /** tile by tile, row by row */
  values: ArrayLike<number>;
  /** of a tile, in squares */
  height: number;
  width: number;
}

/** Tiles of squares to choose from. */
interface Cells extends Tiles {
  /** the position in `values` that is marked; -1 for none */
  chosen: number;
  /** A square was clicked, or an arrow key moved there. */
  choose(position: number): void;
  /** values from 0 to 1, black to white; otherwise blue below zero, orange above */
  gray?: boolean;
}

interface Line {
  name: string;
  x: ArrayLike<number>;
  y: ArrayLike<number>;
  color?: number;
  dashed?: boolean;
}

interface Chart {
  lines: Line[];
  /** what the axes show */
  x?: string;
  y?: string;
  log?: boolean;
  low?: number;
  high?: number;
  /** where a line goes across */
  mark?: number;
}
