//! What the tests of the conformance guests have in common: how they are described, and how they check.

/// The outcome of a test: nothing, or why it failed.
pub type Check = Result<(), String>;

/// Fails the test unless the condition holds.
macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            return Err(format!("line {}: not so: {}", line!(), stringify!($condition)));
        }
    };
}

/// Fails the test unless both are equal.
macro_rules! equal {
    ($left:expr, $right:expr) => {
        match (&$left, &$right) {
            (left, right) if left == right => {}
            (left, right) => {
                return Err(format!("line {}: {} is {left:?}, not {right:?}", line!(), stringify!($left)));
            }
        }
    };
}

/// What a call that must succeed gives.
macro_rules! ok {
    ($call:expr) => {
        match $call {
            Ok(value) => value,
            Err(error) => return Err(format!("line {}: {} gave {error:?}", line!(), stringify!($call))),
        }
    };
}

/// What an option that must be there holds.
macro_rules! some {
    ($option:expr) => {
        match $option {
            Some(value) => value,
            None => return Err(format!("line {}: {} is none", line!(), stringify!($option))),
        }
    };
}

/// Fails the test unless the call fails in this way.
macro_rules! fails {
    ($call:expr, $error:pat) => {
        match $call {
            Err($error) => {}
            // Some functions fail in one way only.
            #[allow(unreachable_patterns)]
            Err(error) => {
                let (call, wanted) = (stringify!($call), stringify!($error));
                return Err(format!("line {}: {call} gave {error:?}, not {wanted}", line!()));
            }
            Ok(_) => {
                let (call, wanted) = (stringify!($call), stringify!($error));
                return Err(format!("line {}: {call} succeeded, and should give {wanted}", line!()));
            }
        }
    };
}

/// The line of a list that says which functions a test covers.
pub fn line(name: &str, covers: &[&str], exit: Option<u8>) -> String {
    let exit = exit.map(|code| format!("\texit={code}")).unwrap_or_default();
    format!("{name}\t{}{exit}\n", covers.join(" "))
}
