// The part of wasi:http that this project uses, in the shape that componentize-qjs gives it:
// names in camel case, option<T> as T or null, and the error of a result as an exception.
// Everything else of it is described in wit/deps/http.wit. Add what you need here.

declare module "wasi:http/types@0.3.0" {
  export type Method = { tag: "get" | "head" | "post" | "put" | "delete" | "connect" | "options" | "trace" | "patch" } | { tag: "other"; val: string };
  export type Body = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  export type Result<T> = { tag: "ok"; val: T } | { tag: "err"; val: { tag: string; val?: unknown } };

  export interface Fields {
    get(name: string): Uint8Array[];
    has(name: string): boolean;
    set(name: string, values: Uint8Array[]): void;
    append(name: string, value: Uint8Array): void;
    delete(name: string): void;
    copyAll(): [string, Uint8Array][];
    clone(): Fields;
  }

  export interface Request {
    getMethod(): Method;
    getPathWithQuery(): string | null;
    getAuthority(): string | null;
    getHeaders(): Fields;
  }

  export interface Response {
    getStatusCode(): number;
    setStatusCode(status: number): void;
    getHeaders(): Fields;
  }

  const types: {
    Fields: {
      new (): Fields;
      fromList(entries: [string, Uint8Array][]): Fields;
    };
    Request: {
      /** The body, as chunks, and a future of the trailers. */
      consumeBody(request: Request, result: wit.Future<Result<void>>): [AsyncIterable<Uint8Array>, wit.Future<Result<Fields | null>>];
    };
    Response: {
      "new"(headers: Fields, body: Body | null, trailers: wit.Future<Result<Fields | null>>): [Response, wit.Future<Result<void>>];
    };
  };
  export default types;
}

/** A global of componentize-qjs: the futures and streams of the component model. */
declare namespace wit {
  interface Future<T> {
    read(): Promise<T>;
    drop(): void;
  }

  interface FutureType<T> {
    readonly of: T;
  }

  const Future: {
    from<T>(value: T | Promise<T>, type: FutureType<T>): { readable: Future<T>; completion: Promise<void> };
    /** future<result<option<trailers>, error-code>> */
    readonly RESULT_OPTION_OTHER_ERROR_CODE: FutureType<import("wasi:http/types@0.3.0").Result<import("wasi:http/types@0.3.0").Fields | null>>;
    /** future<result<_, error-code>> */
    readonly RESULT_VOID_ERROR_CODE: FutureType<import("wasi:http/types@0.3.0").Result<void>>;
  };
}

declare function unescape(text: string): string;
