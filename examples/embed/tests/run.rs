//! Runs the example, whose component calls the plugin.

use std::process::Command;

#[test]
fn the_dice_show_the_configured_number() {
    let output = Command::new(env!("CARGO_BIN_EXE_embed")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "roll 1: 5\nroll 2: 5\ntwo dice show 10\n");
    assert!(output.status.success());
}
