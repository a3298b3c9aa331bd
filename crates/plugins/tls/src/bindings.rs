//! The bindings of `wasi:tls@0.3.0-draft`; those of 0.2.0-draft come with `wasmtime-wasi-tls`. The WIT has no documentation of its own:
//! the package's owners publish it.

wasmtime::component::bindgen!({
    inline: "
        package wasi:tls@0.3.0-draft;
        interface types {
            resource error { to-debug-string: func() -> string; }
        }
        interface client {
            use types.{error};
            resource connector {
                constructor();
                send: func(cleartext: stream<u8>) -> tuple<stream<u8>, future<result<_, error>>>;
                receive: func(ciphertext: stream<u8>) -> tuple<stream<u8>, future<result<_, error>>>;
                connect: static async func(this: connector, server-name: string) -> result<_, error>;
            }
        }
        world imports { import client; import types; }
    ",
    imports: {
        "wasi:tls/client.[method]connector.send": store | trappable,
        "wasi:tls/client.[method]connector.receive": store | trappable,
        default: trappable,
    },
    with: {
        "wasi:tls/client.connector": crate::p3::Connector,
        "wasi:tls/types.error": crate::p3::Failure,
    },
    require_store_data_send: true,
});
