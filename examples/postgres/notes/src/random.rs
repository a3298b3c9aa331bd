//! Gives `getrandom`, and so the client library, the random numbers of `wasi:random`.

use wasip3::random::random::get_random_bytes;

/// What `getrandom` calls when it is built with `--cfg getrandom_backend="custom"`: see .cargo/config.toml.
#[unsafe(no_mangle)]
unsafe extern "Rust" fn __getrandom_v03_custom(to: *mut u8, length: usize) -> Result<(), getrandom::Error> {
    let mut done = 0;
    while done < length {
        let bytes = get_random_bytes((length - done) as u64);
        // SAFETY: `getrandom` gives `length` bytes to write to; no more than what is left of them was asked for.
        unsafe { to.add(done).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        done += bytes.len();
    }
    Ok(())
}
