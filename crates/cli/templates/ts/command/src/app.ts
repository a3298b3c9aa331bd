// The exports of this file are those of the world in wit/world.wit.
import environment from "wasi:cli/environment@0.3.0";
import { print } from "./print";

export function greeting(name?: string): string {
  return `Hello, ${name || "world"}!`;
}

export const run = {
  async run(): Promise<void> {
    const [, name] = environment.getArguments(); // the first one is the program's own name
    await print(greeting(name));
  },
};

export function testGreetsByName(): void {
  expect(greeting("Ada"), "Hello, Ada!");
}

export function testGreetsTheWorld(): void {
  expect(greeting(), "Hello, world!");
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect<T>(actual: T, expected: T): void {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
