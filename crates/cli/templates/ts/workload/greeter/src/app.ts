// The exports of this file are those of the world in wit/world.wit.

export const greeter = {
  greet(name: string): string {
    return `Hello, ${name || "world"}!`;
  },
};

export function testGreetsByName(): void {
  expect(greeter.greet("Ada"), "Hello, Ada!");
}

export function testGreetsTheWorld(): void {
  expect(greeter.greet(""), "Hello, world!");
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect<T>(actual: T, expected: T): void {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
