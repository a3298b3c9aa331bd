// The exports of this file are those of the world in wit/world.wit.

export const greeter = {
  greet(name) {
    return `Hello, ${name || "world"}!`;
  },
};

export function testGreetsByName() {
  expect(greeter.greet("Ada"), "Hello, Ada!");
}

export function testGreetsTheWorld() {
  expect(greeter.greet(""), "Hello, world!");
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect(actual, expected) {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
