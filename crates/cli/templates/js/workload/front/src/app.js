// The exports of this file are those of the world in wit/world.wit.
import greeter from "app:{{name}}/greeter";
import { text } from "./http.js";

/** The text for a path, or undefined if there is none. */
export function greeting(path) {
  if (path === "/") return "Hello from {{name}}!";
  if (path.startsWith("/hello/")) return greeter.greet(path.slice("/hello/".length));
}

export const handler = {
  async handle(request) {
    const [path] = (request.getPathWithQuery() ?? "/").split("?");
    const answer = greeting(path);
    return answer === undefined ? text("Not found", 404) : text(answer);
  },
};

export function testGreets() {
  expect(greeting("/"), "Hello from {{name}}!");
}

export function testGreetsByName() {
  expect(greeting("/hello/Ada"), "Hello, Ada!");
}

export function testUnknownPath() {
  expect(greeting("/nowhere"), undefined);
}

/** A test fails with what it throws: a string, as its type in the world says. */
function expect(actual, expected) {
  if (actual !== expected) throw `expected ${expected}, got ${actual}`;
}
