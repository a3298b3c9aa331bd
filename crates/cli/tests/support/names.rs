//! Host names of a test: the program runs in a mount namespace with an /etc/hosts that the test writes.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Stdio};

use super::wharf;

/// Maps the current user to root in a user namespace, so that the test needs no root on the machine.
const UNSHARE: [&str; 2] = ["--map-root-user", "--mount"];

/// The host names that `wharf` sees: those of a hosts file, and no other source of names.
pub struct Names(tempfile::TempDir);

impl Names {
    pub fn new(hosts: &str) -> Self {
        let unshare = Command::new("unshare").args(UNSHARE).arg("true").output();
        let privileged = unshare.as_ref().is_ok_and(|output| output.status.success());
        assert!(
            privileged,
            "this test needs unshare(1) with user namespaces, or root, to mount its /etc/hosts: {unshare:?}"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nsswitch.conf"), "hosts: files\n").unwrap();
        let names = Self(folder);
        names.change(hosts);
        names
    }

    /// Replaces the names. The file is written in place, because it is the mounted one.
    pub fn change(&self, hosts: &str) {
        std::fs::write(self.0.path().join("hosts"), hosts).unwrap();
    }

    /// The program, in its own mount namespace.
    pub fn wharf(&self) -> Command {
        let wharf = wharf();
        let mut command = Command::new("unshare");
        let script = r#"for file in hosts nsswitch.conf; do
                [ ! -e "/etc/$file" ] || mount --bind "$0/$file" "/etc/$file" || exit 99
            done
            exec "$@""#;
        command
            .args(UNSHARE)
            .args(["sh", "-c", script])
            .arg(self.0.path())
            .arg(wharf.get_program())
            .stdin(Stdio::null());
        for (name, value) in wharf.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}
