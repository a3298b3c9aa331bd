//! The bindings of each interface. Their WIT has no documentation of its own: the packages' owners publish it.

pub(crate) mod draft {
    //! `wasi:keyvalue@0.2.0-draft`.
    wasmtime::component::bindgen!({
        inline: "
            package wasi:keyvalue@0.2.0-draft;
            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<u64> }
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<u64>) -> result<key-response, error>;
                }
                open: func(identifier: string) -> result<bucket, error>;
            }
            interface atomics {
                use store.{bucket, error};
                increment: func(bucket: borrow<bucket>, key: string, delta: u64) -> result<u64, error>;
            }
            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<option<tuple<string, list<u8>>>>, error>;
                set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            interface watcher {
                use store.{bucket};
                on-set: func(bucket: bucket, key: string, value: list<u8>);
                on-delete: func(bucket: bucket, key: string);
            }
            world service { import store; import atomics; import batch; export watcher; }
        ",
        imports: { default: async | trappable },
        exports: { default: async | store },
        with: { "wasi:keyvalue/store.bucket": crate::bucket::Bucket },
    });
}

pub(crate) mod draft2 {
    //! `wasi:keyvalue@0.2.0-draft2`.
    wasmtime::component::bindgen!({
        inline: "
            package wasi:keyvalue@0.2.0-draft2;
            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<string> }
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<string>) -> result<key-response, error>;
                }
                open: func(identifier: string) -> result<bucket, error>;
            }
            interface atomics {
                use store.{bucket, error};
                variant cas-error { store-error(error), cas-failed(cas) }
                resource cas {
                    new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                    current: func() -> result<option<list<u8>>, error>;
                }
                increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
                swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
            }
            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<tuple<string, option<list<u8>>>>, error>;
                set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            interface watcher {
                use store.{bucket};
                on-set: func(bucket: bucket, key: string, value: list<u8>);
                on-delete: func(bucket: bucket, key: string);
            }
            world service { import store; import atomics; import batch; export watcher; }
        ",
        imports: { default: async | trappable },
        exports: { default: async | store },
        with: {
            "wasi:keyvalue/store.bucket": crate::bucket::Bucket,
            "wasi:keyvalue/atomics.cas": crate::bucket::Cas,
        },
    });
}

pub(crate) mod wasmcloud {
    //! `wasmcloud:keyvalue@0.2.0`.
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:keyvalue@0.2.0;
            interface types {
                variant error {
                    no-such-store, access-denied, invalid-argument, precondition-failed, timeout, store-unavailable,
                    quota-exceeded, other(string),
                }
                record key-response { keys: list<string>, cursor: option<string> }
                record set-options { ttl-ms: option<u64>, if-not-exists: bool }
                resource bucket {
                    get: async func(key: string) -> result<option<list<u8>>, error>;
                    set: async func(key: string, value: list<u8>, options: option<set-options>) -> result<_, error>;
                    delete: async func(key: string) -> result<_, error>;
                    exists: async func(key: string) -> result<bool, error>;
                    list-keys: async func(prefix: option<string>, cursor: option<string>) -> result<key-response, error>;
                }
            }
            interface store {
                use types.{bucket, error};
                open: async func(identifier: string) -> result<bucket, error>;
            }
            interface atomics {
                use types.{bucket, error};
                increment: async func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
            }
            interface cas {
                use types.{bucket, error};
                type version = string;
                record entry { value: list<u8>, version: version }
                record cas-options { require-version: option<version>, require-value: option<list<u8>> }
                variant cas-result { swapped, stale(option<entry>) }
                current: async func(bucket: borrow<bucket>, key: string) -> result<option<entry>, error>;
                swap: async func(bucket: borrow<bucket>, key: string, value: list<u8>, options: cas-options)
                    -> result<cas-result, error>;
            }
            interface batch {
                use types.{bucket, error};
                get-many: async func(bucket: borrow<bucket>, keys: list<string>)
                    -> result<list<option<tuple<string, list<u8>>>>, error>;
                set-many: async func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>)
                    -> result<_, error>;
                delete-many: async func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            interface watcher {
                use types.{bucket};
                on-set: async func(bucket: bucket, key: string, value: list<u8>);
                on-delete: async func(bucket: bucket, key: string);
            }
            world service { import types; import store; import atomics; import cas; import batch; export watcher; }
        ",
        imports: { default: async | store | trappable },
        exports: { default: async | store },
        with: { "wasmcloud:keyvalue/types.bucket": crate::bucket::Bucket },
    });
}
