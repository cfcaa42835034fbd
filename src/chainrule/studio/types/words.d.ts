// What the Python side of Next word tells: see words.py.

declare namespace words {
  interface Reading {
    about: string;
    unit: string;
    tokens: string[];
    unseen: number;
    words: string[];
    pieces: string[];
    probabilities: number[];
    others: { count: number; probability: number };
    choices: number;
    continuation: string;
    /** layers, heads, tokens */
    attention: [number, number, number] | null;
    weights: Float32Array;
    code: string;
  }
}
