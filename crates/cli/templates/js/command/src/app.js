// The exports of this file are those of the world in wit/world.wit.
import environment from "wasi:cli/environment@0.3.0";
import { print } from "./print.js";

export function greeting(name) {
  return `Hello, ${name || "world"}!`;
}

export const run = {
  async run() {
    const [, name] = environment.getArguments(); // the first one is the program's own name
    await print(greeting(name));
  },
};

export function testGreetsByName() {
  expect(greeting("Ada"), "Hello, Ada!");
}

export function testGreetsTheWorld() {
  expect(greeting(undefined), "Hello, world!");
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect(actual, expected) {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
