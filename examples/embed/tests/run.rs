//! The example runs, and its plugin is asked.

use std::process::Command;

#[test]
fn the_dice_show_what_the_configuration_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "two dice show 10\n");
    assert!(output.status.success());
}
