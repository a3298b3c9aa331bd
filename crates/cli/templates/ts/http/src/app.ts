// The exports of this file are those of the world in wit/world.wit.
import type { Request, Response } from "wasi:http/types@0.3.0";
import { text } from "./http";

/** The text for a path, or undefined if there is none. */
export function greeting(path: string): string | undefined {
  if (path === "/") return "Hello from {{name}}!";
  if (path.startsWith("/hello/")) return `Hello, ${path.slice("/hello/".length)}!`;
  return undefined;
}

export const handler = {
  async handle(request: Request): Promise<Response> {
    const [path] = (request.getPathWithQuery() ?? "/").split("?");
    const answer = greeting(path);
    return answer === undefined ? text("Not found", 404) : text(answer);
  },
};

export function testGreets(): void {
  expect(greeting("/"), "Hello from {{name}}!");
}

export function testGreetsByName(): void {
  expect(greeting("/hello/Ada"), "Hello, Ada!");
}

export function testUnknownPath(): void {
  expect(greeting("/nowhere"), undefined);
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect<T>(actual: T, expected: T): void {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
