//! Tests of what is not a file: arguments, clocks, random numbers, waiting, standard streams, sockets, the end.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use wasip1::*;

use crate::files::{NONE, data, make, read, write};
use crate::{Check, Test, Why, apart, test};

pub const TESTS: &[Test] = &[
    test("arguments", "args_sizes_get args_get", arguments),
    test("environment", "environ_sizes_get environ_get", environment),
    test("clock-resolutions", "clock_res_get", clock_resolutions),
    test("clock-times", "clock_time_get", clock_times),
    test("random-bytes", "random_get", random_bytes),
    test("yield", "sched_yield", yield_once),
    test("poll-relative-time", "poll_oneoff clock_time_get", poll_relative_time),
    test("poll-absolute-time", "poll_oneoff clock_time_get", poll_absolute_time),
    apart("poll-past-time", "poll_oneoff clock_time_get", "adapter:fail", poll_past_time),
    test("poll-first-of-two", "poll_oneoff", poll_first_of_two),
    test("poll-file", "poll_oneoff", poll_file),
    test("poll-nothing", "poll_oneoff", poll_nothing),
    test("poll-bad-descriptor", "poll_oneoff", poll_bad_descriptor),
    test("stdin", "poll_oneoff fd_read fd_fdstat_get fd_write fd_seek fd_tell", stdin),
    test("stdout", "fd_write fd_read fd_seek fd_fdstat_get fd_filestat_get poll_oneoff", stdout),
    test("socket-shutdown", "sock_shutdown", socket_shutdown),
    apart("socket-accept", "sock_accept", "adapter:trap", socket_accept),
    apart("socket-receive", "sock_recv", "adapter:trap", socket_receive),
    apart("socket-send", "sock_send", "adapter:trap", socket_send),
    apart("raise", "proc_raise", "adapter:trap", raise),
    apart("exit-well", "proc_exit", "exit=0", exit_well),
    apart("exit-badly", "proc_exit", "exit=1", exit_badly),
    apart("exit-with-code", "proc_exit", "exit=7 adapter:exit=1", exit_with_code),
];

/// Gets what `args_get` and `environ_get` give, and checks that it is laid out as they promise.
unsafe fn strings(
    (count, length): (Size, Size),
    get: unsafe fn(*mut *mut u8, *mut u8) -> Result<(), Errno>,
) -> Result<Vec<String>, Why> {
    let mut bytes = vec![1_u8; length];
    let mut starts = vec![core::ptr::null_mut::<u8>(); count];
    get(starts.as_mut_ptr(), bytes.as_mut_ptr())?;
    let (mut strings, mut at) = (Vec::new(), 0);
    for start in starts {
        same!(start as usize, bytes.as_ptr() as usize + at);
        let Some(end) = bytes[at..].iter().position(|byte| *byte == 0) else {
            return Err(Why("a string does not end".into()));
        };
        strings.push(String::from_utf8_lossy(&bytes[at..at + end]).into_owned());
        at += end + 1;
    }
    same!(at, length);
    Ok(strings)
}

pub unsafe fn args() -> Result<Vec<String>, Why> {
    strings(args_sizes_get()?, args_get)
}

unsafe fn arguments() -> Check {
    let (count, _) = args_sizes_get()?;
    let args = strings(args_sizes_get()?, args_get)?;
    same!(args.len(), count);
    same!(args.is_empty(), false);
    // The same again.
    same!(self::args()?, args);
    Ok(())
}

unsafe fn environment() -> Check {
    let variables = strings(environ_sizes_get()?, environ_get)?;
    same!(variables.iter().any(|variable| variable == "CONFORM=yes"), true);
    same!(variables.iter().all(|variable| variable.contains('=')), true);
    Ok(())
}

unsafe fn clock_resolutions() -> Check {
    for clock in [CLOCKID_REALTIME, CLOCKID_MONOTONIC] {
        let resolution = clock_res_get(clock)?;
        same!((1..=1_000_000_000).contains(&resolution), true);
    }
    for clock in [CLOCKID_PROCESS_CPUTIME_ID, CLOCKID_THREAD_CPUTIME_ID] {
        refused!(clock_res_get(clock), ERRNO_BADF, ERRNO_INVAL);
    }
    Ok(())
}

const SECOND: Timestamp = 1_000_000_000;

unsafe fn clock_times() -> Check {
    let year = 365 * 24 * 3600 * SECOND;
    let now = clock_time_get(CLOCKID_REALTIME, 0)?;
    same!((55 * year..130 * year).contains(&now), true);
    let mut last = 0;
    for _ in 0..100 {
        let now = clock_time_get(CLOCKID_MONOTONIC, 1)?;
        same!(now >= last, true);
        last = now;
    }
    for clock in [CLOCKID_PROCESS_CPUTIME_ID, CLOCKID_THREAD_CPUTIME_ID] {
        refused!(clock_time_get(clock, 0), ERRNO_BADF, ERRNO_INVAL);
    }
    Ok(())
}

unsafe fn random_bytes() -> Check {
    let (mut one, mut other) = ([0_u8; 64], [0_u8; 64]);
    random_get(one.as_mut_ptr(), 64)?;
    random_get(other.as_mut_ptr(), 32)?;
    same!(one[..32] == other[..32], false);
    // Nothing is written beyond the length.
    same!(other[32..], [0_u8; 32]);
    same!(one[32..] == [0_u8; 32], false);
    random_get(one.as_mut_ptr(), 0)?;
    let mut many = vec![0_u8; 100_000];
    random_get(many.as_mut_ptr(), many.len())?;
    same!(many.chunks(100).any(|chunk| chunk.iter().all(|byte| *byte == 0)), false);
    Ok(())
}

unsafe fn yield_once() -> Check {
    Ok(sched_yield()?)
}

unsafe fn poll(subscriptions: &[Subscription]) -> Result<Vec<Event>, Errno> {
    let none = EventFdReadwrite { nbytes: 0, flags: 0 };
    let event = Event { userdata: 0, error: ERRNO_IO, type_: EVENTTYPE_CLOCK, fd_readwrite: none };
    let mut events = vec![event; subscriptions.len()];
    let count = poll_oneoff(subscriptions.as_ptr(), events.as_mut_ptr(), subscriptions.len())?;
    events.truncate(count);
    Ok(events)
}

fn at_time(userdata: Userdata, id: Clockid, timeout: Timestamp, flags: Subclockflags) -> Subscription {
    let clock = SubscriptionClock { id, timeout, precision: 0, flags };
    Subscription { userdata, u: SubscriptionU { tag: 0, u: SubscriptionUU { clock } } }
}

fn at_read(userdata: Userdata, file_descriptor: Fd) -> Subscription {
    let fd_read = SubscriptionFdReadwrite { file_descriptor };
    Subscription { userdata, u: SubscriptionU { tag: 1, u: SubscriptionUU { fd_read } } }
}

fn at_write(userdata: Userdata, file_descriptor: Fd) -> Subscription {
    let fd_write = SubscriptionFdReadwrite { file_descriptor };
    Subscription { userdata, u: SubscriptionU { tag: 2, u: SubscriptionUU { fd_write } } }
}

/// Fails unless there is one event, of this type.
fn one(events: &[Event], userdata: Userdata, type_: Eventtype) -> Check {
    same!(events.len(), 1);
    same!(events[0].userdata, userdata);
    same!(events[0].error == ERRNO_SUCCESS, true);
    same!(events[0].type_ == type_, true);
    Ok(())
}

pub unsafe fn wait_to_read(fd: Fd) -> Check {
    one(&poll(&[at_read(0, fd)])?, 0, EVENTTYPE_FD_READ)
}

unsafe fn poll_relative_time() -> Check {
    for clock in [CLOCKID_MONOTONIC, CLOCKID_REALTIME] {
        let wait = 5_000_000;
        let before = clock_time_get(CLOCKID_MONOTONIC, 0)?;
        one(&poll(&[at_time(7, clock, wait, 0)])?, 7, EVENTTYPE_CLOCK)?;
        let waited = clock_time_get(CLOCKID_MONOTONIC, 0)? - before;
        same!((wait..10 * SECOND).contains(&waited), true);
    }
    Ok(())
}

unsafe fn poll_absolute_time() -> Check {
    let flags = SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
    for clock in [CLOCKID_MONOTONIC, CLOCKID_REALTIME] {
        let until = clock_time_get(clock, 0)? + 5_000_000;
        one(&poll(&[at_time(8, clock, until, flags)])?, 8, EVENTTYPE_CLOCK)?;
        same!(clock_time_get(clock, 0)? >= until, true);
    }
    Ok(())
}

/// The past has come.
unsafe fn poll_past_time() -> Check {
    let flags = SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
    for clock in [CLOCKID_MONOTONIC, CLOCKID_REALTIME] {
        let past = clock_time_get(clock, 0)? - 1;
        one(&poll(&[at_time(9, clock, past, flags)])?, 9, EVENTTYPE_CLOCK)?;
    }
    Ok(())
}

unsafe fn poll_first_of_two() -> Check {
    let late = 3600 * SECOND;
    let both = [at_time(1, CLOCKID_MONOTONIC, late, 0), at_time(2, CLOCKID_MONOTONIC, 1_000_000, 0)];
    one(&poll(&both)?, 2, EVENTTYPE_CLOCK)?;
    let both = [at_time(1, CLOCKID_MONOTONIC, late, 0), at_write(3, 1)];
    one(&poll(&both)?, 3, EVENTTYPE_FD_WRITE)
}

unsafe fn poll_file() -> Check {
    let file = make(data()?, "poll-file", b"12345")?;
    let events = poll(&[at_read(1, file)])?;
    one(&events, 1, EVENTTYPE_FD_READ)?;
    same!(events[0].fd_readwrite.nbytes > 0, true);
    one(&poll(&[at_write(2, file)])?, 2, EVENTTYPE_FD_WRITE)?;
    // Both are, but one is enough for the call to be done.
    let events = poll(&[at_read(1, file), at_write(2, file)])?;
    same!((1..=2).contains(&events.len()), true);
    Ok(fd_close(file)?)
}

unsafe fn poll_nothing() -> Check {
    refused!(poll(&[]), ERRNO_INVAL);
    Ok(())
}

/// Either the call is refused, or its event says what is wrong.
unsafe fn poll_bad_descriptor() -> Check {
    for subscription in [at_read(1, NONE), at_write(1, NONE), at_read(1, 1), at_write(1, 0)] {
        match poll(&[subscription]) {
            Ok(events) => {
                same!(events.len(), 1);
                same!(events[0].error.name(), "BADF");
            }
            refusal => refused!(refusal, ERRNO_BADF),
        }
    }
    Ok(())
}

unsafe fn stdin() -> Check {
    one(&poll(&[at_read(4, 0)])?, 4, EVENTTYPE_FD_READ)?;
    let mut input = Vec::new();
    loop {
        let more = read(0, 4)?;
        if more.is_empty() {
            break;
        }
        input.extend(more);
    }
    same!(input, b"input\n");
    same!(read(0, 4)?, b"");
    // A pipe is no terminal.
    same!(fd_fdstat_get(0)?.fs_filetype == FILETYPE_CHARACTER_DEVICE, false);
    refused!(write(0, b"x"), ERRNO_BADF);
    refused!(fd_seek(0, 0, WHENCE_CUR), ERRNO_SPIPE);
    refused!(fd_tell(0), ERRNO_SPIPE);
    Ok(())
}

unsafe fn stdout() -> Check {
    for fd in [1, 2] {
        let pieces = [b"# out".as_slice(), b"", b"put\n"];
        let pieces = pieces.map(|piece| Ciovec { buf: piece.as_ptr(), buf_len: piece.len() });
        // It may write less than all; what is left is not tried again, since any number of bytes will do here.
        same!((1..=9).contains(&fd_write(fd, &pieces)?), true);
        refused!(read(fd, 1), ERRNO_BADF);
        refused!(fd_seek(fd, 0, WHENCE_CUR), ERRNO_SPIPE);
        same!(fd_fdstat_get(fd)?.fs_rights_base & RIGHTS_FD_WRITE, RIGHTS_FD_WRITE);
        same!(fd_filestat_get(fd)?.filetype == FILETYPE_DIRECTORY, false);
        one(&poll(&[at_write(5, fd)])?, 5, EVENTTYPE_FD_WRITE)?;
    }
    same!(write(1, b"\n")?, 1);
    Ok(())
}

unsafe fn socket_shutdown() -> Check {
    let file = make(data()?, "socket-shutdown", b"")?;
    for fd in [file, data()?] {
        refused!(sock_shutdown(fd, SDFLAGS_RD | SDFLAGS_WR), ERRNO_NOTSOCK);
    }
    refused!(sock_shutdown(NONE, SDFLAGS_RD), ERRNO_BADF);
    Ok(fd_close(file)?)
}

unsafe fn socket_accept() -> Check {
    refused!(sock_accept(data()?, 0), ERRNO_NOTSOCK);
    refused!(sock_accept(NONE, 0), ERRNO_BADF);
    Ok(())
}

unsafe fn socket_receive() -> Check {
    let mut bytes = [0_u8; 4];
    let into = [Iovec { buf: bytes.as_mut_ptr(), buf_len: 4 }];
    refused!(sock_recv(data()?, &into, 0), ERRNO_NOTSOCK);
    refused!(sock_recv(NONE, &into, 0), ERRNO_BADF);
    Ok(())
}

unsafe fn socket_send() -> Check {
    let from = [Ciovec { buf: b"x".as_ptr(), buf_len: 1 }];
    refused!(sock_send(data()?, &from, 0), ERRNO_NOTSOCK);
    refused!(sock_send(NONE, &from, 0), ERRNO_BADF);
    Ok(())
}

unsafe fn raise() -> Check {
    refused!(proc_raise(SIGNAL_NONE), ERRNO_NOTSUP);
    refused!(proc_raise(SIGNAL_TERM), ERRNO_NOTSUP);
    Ok(())
}

unsafe fn exit_well() -> Check {
    proc_exit(0);
    Err(Why("went on".into()))
}

unsafe fn exit_badly() -> Check {
    proc_exit(1);
    Err(Why("went on".into()))
}

unsafe fn exit_with_code() -> Check {
    proc_exit(7);
    Err(Why("went on".into()))
}
