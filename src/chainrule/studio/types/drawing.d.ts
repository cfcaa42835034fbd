// What the Python side of Draw tells: see drawing.py.

declare namespace drawing {
  interface Network { about: string; names: string[]; code: string }
  interface Stage { title: string; about: string; shape: [number, number]; digit: number | null; confidence: number }
  interface Reading {
    error?: string;
    blank?: boolean;
    count: number;
    digit: number | null;
    second: { digit: number | null } | null;
    confidence: number;
    confidences?: number[];
    no_digit: number | null;
    stages: Stage[];
    pictures: DataView[];
  }
}
