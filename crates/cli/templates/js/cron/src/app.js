// The exports of this file are those of the world in wit/world.wit.
import { print } from "./print.js";

export function message(time) {
  return `{{name}} ran at ${time.toISOString()}`;
}

export const run = {
  async run() {
    await print(message(new Date()));
  },
};

export function testMessage() {
  expect(message(new Date(0)), "{{name}} ran at 1970-01-01T00:00:00.000Z");
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect(actual, expected) {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
