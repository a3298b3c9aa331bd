// The part of wasi:cli that this project uses, in the shape that componentize-qjs gives it:
// names in camel case, option<T> as T or null, and the error of a result as an exception.
// The rest of it is described in wit/deps/cli.wit. Add what you need here.

declare module "wasi:cli/stdout@0.3.0" {
  const stdout: {
    writeViaStream(data: Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>): {
      read(): Promise<{ tag: "ok" } | { tag: "err"; val: string }>;
    };
  };
  export default stdout;
}

declare function unescape(text: string): string;
