//! Expressions, daylight saving, and the runs of a trigger by a clock that the tests move.

use std::time::Instant;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use proptest::prelude::*;

use super::{Action, Event, Missed, Overlap, Runs, Schedule, Skipped};

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// The next runs, as local times with their offset.
fn runs(text: &str, after: &str, count: usize) -> Vec<String> {
    let start: Zoned = after.parse().unwrap();
    let (schedule, mut now, mut found) = (schedule(text), start.timestamp(), Vec::new());
    while found.len() < count {
        now = schedule.next_after(now, start.time_zone()).unwrap();
        found.push(now.to_zoned(start.time_zone().clone()).strftime("%m-%d %H:%M:%S%:z").to_string());
    }
    found
}

#[test]
fn reads_expressions() {
    let from = "2026-03-04T10:20:30+00:00[UTC]";
    for (text, expected) in [
        ("* * * * *", "03-04 10:21:00+00:00"),
        ("* * * * * *", "03-04 10:20:31+00:00"),
        ("*/15 * * * * *", "03-04 10:20:45+00:00"),
        ("30 20 10 4 3 *", "03-04 10:20:30+00:00"),
        ("0 9 * * MON-FRI", "03-05 09:00:00+00:00"),
        ("0 9 * * sun", "03-08 09:00:00+00:00"),
        ("0 9 * * 7", "03-08 09:00:00+00:00"),
        ("0 0 1 JAN,Jul *", "07-01 00:00:00+00:00"),
        ("0 0 L * *", "03-31 00:00:00+00:00"),
        ("0 0 * * MON#2", "03-09 00:00:00+00:00"),
        ("0 0 * * FRIL", "03-27 00:00:00+00:00"),
        ("0 0 13 * FRI", "03-06 00:00:00+00:00"),
        ("0 0 29 2 *", "02-29 00:00:00+00:00"),
        ("@hourly", "03-04 11:00:00+00:00"),
        ("@daily", "03-05 00:00:00+00:00"),
        ("@weekly", "03-08 00:00:00+00:00"),
        ("@monthly", "04-01 00:00:00+00:00"),
        ("@yearly", "01-01 00:00:00+00:00"),
        ("@every 30s", "03-04 10:21:00+00:00"),
        ("  @Every  1h30m ", "03-04 11:50:30+00:00"),
    ] {
        if text != "30 20 10 4 3 *" {
            assert_eq!(runs(text, from, 1), [expected], "{text}");
        }
    }
    assert_eq!(runs("30 20 10 4 3 *", from, 1), ["03-04 10:20:30+00:00"], "next year");
}

#[test]
fn an_error_names_the_field() {
    for (text, expected) in [
        ("60 * * * *", "invalid minute `60`: expected 0-59"),
        ("* 24 * * *", "invalid hour `24`: expected 0-23"),
        ("61 * * * * *", "invalid second `61`: expected 0-59"),
        ("* * 0 * *", "invalid day of month `0`: expected 1-31"),
        ("* * 32 * *", "invalid day of month `32`: expected 1-31"),
        ("* * * 13 *", "invalid month `13`: expected 1-12 or JAN-DEC"),
        ("* * * FOO *", "invalid month `FOO`: expected 1-12 or JAN-DEC"),
        ("* * * JANUARY *", "invalid month `JANUARY`: expected 1-12 or JAN-DEC"),
        ("* * * * 8", "invalid day of week `8`: expected 0-7 or SUN-SAT"),
        ("* * * * JAN", "invalid day of week `JAN`: expected 0-7 or SUN-SAT"),
        ("MON * * * *", "invalid minute `MON`: expected 0-59"),
        ("1,,2 * * * *", "invalid minute `1,,2`: an item of the list is empty"),
        ("*/0 * * * *", "invalid minute `*/0`: expected 0-59"),
        ("5-1 * * * *", "invalid minute `5-1`: expected 0-59"),
        ("-1 * * * *", "invalid minute `-1`: expected 0-59"),
        ("* * * * MON#9", "invalid day of week `MON#9`: expected 0-7 or SUN-SAT"),
        (
            "@fortnightly",
            "unknown schedule `@fortnightly`; use @hourly, @daily, @weekly, @monthly, @yearly or `@every 30s`",
        ),
    ] {
        assert_eq!(Schedule::parse(text).unwrap_err().to_string(), expected, "{text}");
    }
    for text in ["", "*", "* * * *", "* * * * * * *"] {
        assert!(Schedule::parse(text).unwrap_err().to_string().contains("fields"), "{text}");
    }
    for text in ["@every", "@every 0s", "@every -5s", "@every 1ms", "@every 1500ms", "@every 9000h", "@every soon"] {
        assert!(Schedule::parse(text).unwrap_err().to_string().contains("`@every`"), "{text}");
    }
    assert!(Schedule::parse(&"*".repeat(9999)).is_err());
}

#[test]
fn what_never_comes_is_none_in_bounded_time() {
    let started = Instant::now();
    for text in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "* * * 31 2 *"] {
        for zone in [TimeZone::UTC, zone("Europe/Berlin"), zone("America/New_York")] {
            assert_eq!(schedule(text).next_after(at("2026-01-01T00:00:00Z"), &zone), None, "{text}");
        }
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    assert_eq!(schedule("@every 366d").next_after(Timestamp::MAX, &TimeZone::UTC), None);
    assert_eq!(schedule("@daily").next_after(Timestamp::MAX, &TimeZone::UTC), None);
}

/// In Berlin in 2026, 02:00 to 03:00 does not exist on 29 March, and exists twice on 25 October.
#[test]
fn a_local_time_that_does_not_exist() {
    let before = "2026-03-28T12:00:00+01:00[Europe/Berlin]";
    let fixed = runs("30 2 * * *", before, 2);
    assert_eq!(fixed, ["03-29 03:00:00+02:00", "03-30 02:30:00+02:00"], "a fixed time runs when the clock goes on");
    assert_eq!(runs("30 3 * * *", before, 1), ["03-29 03:30:00+02:00"], "another hour is as always");
    assert_eq!(runs("0 3 * * *", before, 1), ["03-29 03:00:00+02:00"]);
    let recurring = runs("*/30 * * * *", "2026-03-29T01:15:00+01:00[Europe/Berlin]", 3);
    assert_eq!(recurring, ["03-29 01:30:00+01:00", "03-29 03:00:00+02:00", "03-29 03:30:00+02:00"]);
    assert_eq!(runs("0 2,14 * * *", before, 2), ["03-28 14:00:00+01:00", "03-29 14:00:00+02:00"], "as documented");
}

#[test]
fn a_local_time_that_exists_twice() {
    let before = "2026-10-24T12:00:00+02:00[Europe/Berlin]";
    assert_eq!(runs("30 2 * * *", before, 2), ["10-25 02:30:00+02:00", "10-26 02:30:00+01:00"], "once, at the first");
    let recurring = runs("*/30 * * * *", "2026-10-25T01:45:00+02:00[Europe/Berlin]", 5);
    let expected = ["02:00:00+02:00", "02:30:00+02:00", "02:00:00+01:00", "02:30:00+01:00", "03:00:00+01:00"];
    assert_eq!(recurring, expected.map(|it| format!("10-25 {it}")));
    // From between the two.
    assert_eq!(runs("30 2 * * *", "2026-10-25T02:10:00+01:00[Europe/Berlin]", 1), ["10-26 02:30:00+01:00"]);
}

proptest! {
    #[test]
    fn never_panics_and_only_goes_forward(
        text in "\\PC{0,30}|[0-9*/,#LW?@a-zA-Z -]{0,40}|([0-9*]{1,2}(/[0-9])? ){4}[0-7*]",
        at in 0_i64..4_000_000_000,
    ) {
        if let Ok(schedule) = Schedule::parse(&text) {
            let now = Timestamp::from_second(at).unwrap();
            for zone in [TimeZone::UTC, zone("America/Sao_Paulo"), zone("Australia/Lord_Howe")] {
                prop_assert!(schedule.next_after(now, &zone).is_none_or(|it| it > now));
            }
        }
    }

    #[test]
    fn finds_what_a_walk_finds(minute in 0_i64..60, hour in 0_i64..24, at in 1_700_000_000_i64..1_900_000_000) {
        let (now, zone) = (Timestamp::from_second(at).unwrap(), zone("Europe/Berlin"));
        let found = schedule(&format!("{minute} {hour} * * *")).next_after(now, &zone).unwrap();
        let mut walk = now + SignedDuration::from_secs(60 - at.rem_euclid(60));
        let fits = |it: Timestamp| {
            let it = it.to_zoned(zone.clone());
            i64::from(it.minute()) == minute && i64::from(it.hour()) == hour
        };
        // A time that does not exist is the other test's; the second of one that exists twice is skipped.
        while !fits(walk) && walk < found {
            walk += SignedDuration::from_mins(1);
        }
        let exists_once = found.to_zoned(zone.clone()).hour() == i8::try_from(hour).unwrap();
        let (walked, gap) = (walk.to_zoned(zone.clone()), found.duration_since(walk));
        let is_second = walked.hour() == 2 && gap > SignedDuration::ZERO;
        prop_assert!(walk == found || !exists_once || is_second, "{walked} {found}");
    }
}

fn machine(text: &str, missed: Missed, overlap: Overlap) -> Runs {
    Runs::new(schedule(text), TimeZone::UTC, missed, overlap, at("2026-01-01T00:00:30Z"))
}

/// The actions of a tick without the next wake-up.
fn tick(runs: &mut Runs, time: &str) -> Vec<Action> {
    let mut actions = runs.on(Event::Tick(at(&format!("2026-01-01T{time}Z"))));
    assert_eq!(actions.pop(), Some(runs.next().map_or(Action::Over, Action::WakeAt)));
    actions
}

fn run(time: &str) -> Action {
    Action::Run { due: at(&format!("2026-01-01T{time}Z")) }
}

fn skip(time: &str, reason: Skipped) -> Action {
    Action::Skip { due: at(&format!("2026-01-01T{time}Z")), reason }
}

#[test]
fn runs_when_it_is_due_and_not_before() {
    let mut runs = machine("* * * * *", Missed::Skip, Overlap::Skip);
    assert_eq!(tick(&mut runs, "00:00:30"), []);
    assert_eq!(runs.next(), Some(at("2026-01-01T00:01:00Z")));
    assert_eq!(tick(&mut runs, "00:00:59.9"), []);
    assert_eq!(tick(&mut runs, "00:01:00"), [run("00:01:00")]);
    assert_eq!(runs.on(Event::Started), []);
    assert_eq!(tick(&mut runs, "00:01:00"), []);
    assert_eq!(runs.on(Event::Finished), []);
    assert_eq!(tick(&mut runs, "00:02:09"), [run("00:02:00")], "a little late");
    assert_eq!(runs.next(), Some(at("2026-01-01T00:03:00Z")));
}

#[test]
fn missed_runs_are_skipped_or_run_once() {
    let mut runs = machine("0 * * * *", Missed::Skip, Overlap::Skip);
    assert_eq!(tick(&mut runs, "07:30:00"), [skip("01:00:00", Skipped::Missed)]);
    assert_eq!(runs.next(), Some(at("2026-01-01T08:00:00Z")));
    assert_eq!(tick(&mut runs, "11:00:05"), [skip("08:00:00", Skipped::Missed), run("11:00:00")]);
    let mut runs = machine("0 * * * *", Missed::Once, Overlap::Skip);
    assert_eq!(tick(&mut runs, "07:30:00"), [run("01:00:00")]);
    assert_eq!(runs.next(), Some(at("2026-01-01T08:00:00Z")));
    runs.on(Event::Started);
    runs.on(Event::Finished);
    assert_eq!(tick(&mut runs, "11:00:05"), [run("11:00:00")], "one for all");
    let mut runs = machine("@every 45s", Missed::Once, Overlap::Skip);
    assert_eq!(tick(&mut runs, "00:01:15"), [run("00:01:15")]);
    runs.on(Event::Finished);
    assert_eq!(tick(&mut runs, "02:00:00"), [run("00:02:00")]);
    assert_eq!(runs.next(), Some(at("2026-01-01T02:00:30Z")), "the rhythm stays");
}

#[test]
fn a_year_of_missed_seconds_takes_no_time() {
    let mut runs = machine("* * * * * *", Missed::Once, Overlap::Skip);
    let actions = runs.on(Event::Tick(at("2027-01-01T00:00:00.5Z")));
    assert_eq!(actions[0], Action::Run { due: at("2027-01-01T00:00:00Z") });
    assert_eq!(runs.next(), Some(at("2027-01-01T00:00:01Z")));
}

#[test]
fn overlapping_runs_are_skipped_allowed_or_queued() {
    let mut runs = machine("* * * * *", Missed::Skip, Overlap::Skip);
    assert_eq!(tick(&mut runs, "00:01:00"), [run("00:01:00")]);
    assert_eq!(tick(&mut runs, "00:02:00"), [skip("00:02:00", Skipped::Overlaps)], "it has not begun, and counts");
    runs.on(Event::Started);
    assert_eq!(tick(&mut runs, "00:03:00"), [skip("00:03:00", Skipped::Overlaps)]);
    assert_eq!(runs.on(Event::Finished), []);
    assert_eq!(tick(&mut runs, "00:04:00"), [run("00:04:00")]);
    assert_eq!(runs.on(Event::Finished), [], "it could not begin");
    assert_eq!(tick(&mut runs, "00:05:00"), [run("00:05:00")]);

    let mut runs = machine("* * * * * *", Missed::Skip, Overlap::Allow);
    let started = (31..60).filter(|it| tick(&mut runs, &format!("00:00:{it}")).len() == 1).count()
        + (0..60)
            .map(|it| tick(&mut runs, &format!("00:01:{it:02}")))
            .filter(|it| matches!(it[..], [Action::Run { .. }]))
            .count();
    assert_eq!(started, 64, "not without a limit");

    let mut runs = machine("* * * * *", Missed::Skip, Overlap::Queue);
    assert_eq!(tick(&mut runs, "00:01:00"), [run("00:01:00")]);
    runs.on(Event::Started);
    assert_eq!(tick(&mut runs, "00:02:00"), []);
    assert_eq!(tick(&mut runs, "00:03:00"), [skip("00:03:00", Skipped::Overlaps)], "one waits");
    assert_eq!(runs.on(Event::Finished), [run("00:02:00")]);
    runs.on(Event::Started);
    assert_eq!(runs.on(Event::Finished), []);
    assert_eq!(runs.on(Event::Finished), [], "one too many is no harm");
}

#[test]
fn a_clock_that_is_set_back() {
    let mut runs = machine("0 * * * *", Missed::Skip, Overlap::Skip);
    assert_eq!(tick(&mut runs, "05:00:00").last(), Some(&run("05:00:00")));
    runs.on(Event::Finished);
    assert_eq!(tick(&mut runs, "04:59:00"), [], "a little: no run is repeated");
    assert_eq!(runs.next(), Some(at("2026-01-01T06:00:00Z")));
    assert_eq!(tick(&mut runs, "00:10:00"), []);
    assert_eq!(runs.next(), Some(at("2026-01-01T01:00:00Z")), "a lot: the schedule starts anew");
}

#[test]
fn one_that_never_comes_is_over() {
    let mut runs = machine("0 0 31 2 *", Missed::Once, Overlap::Queue);
    assert_eq!(runs.on(Event::Tick(at("2026-01-01T00:00:00Z"))), [Action::Over]);
}
