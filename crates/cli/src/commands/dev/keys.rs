//! Single keys of a terminal: without echo, and without waiting for the end of a line.

use std::io::Read as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// The keys that are pressed, until this is dropped, which restores the terminal.
pub(crate) struct Keys {
    before: Termios,
    pressed: mpsc::UnboundedReceiver<u8>,
}

impl Keys {
    /// `None` unless standard input is a terminal.
    pub(crate) fn new() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) || !isatty(std::io::stderr()) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut keys = before.clone();
        keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &keys).ok()?;
        let (sender, pressed) = mpsc::unbounded_channel();
        // The thread waits for a key when the program ends, and ends with it.
        std::thread::spawn(move || {
            let mut byte = [0];
            while std::io::stdin().read_exact(&mut byte).is_ok() && sender.send(byte[0]).is_ok() {}
        });
        Some(Self { before, pressed })
    }

    /// The next key; waits for ever after the end of the input.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.pressed.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The terminal may be gone.
        tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before).ok();
    }
}
