//! The bindings of each interface. Their WIT has no documentation of its own: the packages' owner publishes it.

pub(crate) mod v2 {
    //! `wasmcloud:messaging@0.2.0`.
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:messaging@0.2.0;
            interface types {
                record broker-message { subject: string, body: list<u8>, reply-to: option<string> }
            }
            interface handler {
                use types.{broker-message};
                handle-message: func(msg: broker-message) -> result<_, string>;
            }
            interface consumer {
                use types.{broker-message};
                request: func(subject: string, body: list<u8>, timeout-ms: u32) -> result<broker-message, string>;
                publish: func(msg: broker-message) -> result<_, string>;
            }
            world service { import consumer; export handler; }
        ",
        imports: { default: async | trappable },
        exports: { default: async | store },
    });
}

pub(crate) mod v3 {
    //! `wasmcloud:messaging@0.3.0`.
    wasmtime::component::bindgen!({
        inline: "
            package wasmcloud:messaging@0.3.0;
            interface types {
                record broker-message { subject: string, body: stream<u8>, reply-to: option<string> }
                variant error {
                    subject-invalid, access-denied, timeout, broker-unavailable, message-too-large, quota-exceeded,
                    other(string),
                }
                variant handle-message-error { reject, retry, other(string) }
            }
            interface consumer {
                use types.{broker-message, error};
                request: async func(subject: string, body: stream<u8>, timeout-ms: option<u32>)
                    -> result<broker-message, error>;
                publish: async func(msg: broker-message) -> result<_, error>;
            }
            interface handler {
                use types.{broker-message, handle-message-error};
                handle-message: async func(msg: broker-message) -> result<_, handle-message-error>;
            }
            world service { import consumer; export handler; }
        ",
        imports: { default: async | store | trappable },
        exports: { default: async | store },
    });
}
