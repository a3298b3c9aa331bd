//! Schedules: cron expressions, and when a trigger runs by them.
//!
//! Takes an expression, a time zone and the time; gives the next time, and what to do at each. Pure: it reads no clock
//! and waits for nothing.
//!
//! An expression has five fields (minute, hour, day of month, month, day of week), or six with the second first. A
//! field has numbers, `*`, ranges `1-5`, steps `*/10`, lists `1,15`, and names such as `MON` and `JAN`; a day may be
//! `L`, `15W` or `MON#2`. When both days are restricted, either suffices. There are also `@hourly`, `@daily`,
//! `@weekly`, `@monthly`,
//! `@yearly`, and `@every 30s`.
//!
//! # Daylight saving
//!
//! A fixed time is one with a single second, minute and hour; any other expression recurs within a day.
//!
//! - When the clock goes forward, a fixed time that does not exist runs at the first instant that does. A recurring one
//!   runs at no instant for the times that do not exist.
//! - When the clock goes back, a fixed time that exists twice runs at the first. A recurring one runs at both: it
//!   follows the time that passes.
//! - `@every` knows no clock and no zone.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

pub use self::machine::{Action, Event, Missed, Overlap, Runs, Skipped};

mod machine;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 256;
/// The longest and the shortest time of `@every`.
const EVERY: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(1), SignedDuration::from_hours(366 * 24));

/// Why an expression is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// It has too few or too many fields.
    #[error("expected 5 fields (minute, hour, day of month, month, day of week) or 6 with the second first, found {0}")]
    Fields(usize),
    /// A field is wrong.
    #[error("invalid {field} `{value}`: {problem}")]
    Field {
        /// What the field means.
        field: &'static str,
        /// The field.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A name after `@` is not known.
    #[error("unknown schedule `{0}`; use @hourly, @daily, @weekly, @monthly, @yearly or `@every 30s`")]
    Unknown(String),
    /// The time of `@every` is wrong.
    #[error("invalid time `{0}` of `@every`: expected one between 1s and 366 days, such as `30s` or `1h30m`")]
    Every(String),
    /// It is too long.
    #[error("the expression exceeds {MAX_LENGTH} bytes")]
    Length,
}

/// The fields, first the second, with what each accepts.
const FIELDS: [(&str, &[&str], &str, &str); 6] = [
    ("second", &[], "", "0-59"),
    ("minute", &[], "", "0-59"),
    ("hour", &[], "", "0-23"),
    ("day of month", &[], "LW?", "1-31"),
    (
        "month",
        &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        "",
        "1-12 or JAN-DEC",
    ),
    ("day of week", &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"], "L#?", "0-7 or SUN-SAT"),
];

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cron(Box<Cron>),
    Every(SignedDuration),
}

impl Schedule {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > MAX_LENGTH {
            return Err(CronError::Length);
        }
        let text = text.trim();
        if let Some(name) = text.strip_prefix('@') {
            return named(name);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let first = match fields.len() {
            5 => 1,
            6 => 0,
            count => return Err(CronError::Fields(count)),
        };
        fields.iter().zip(first..).try_for_each(|(value, at)| check(value, at))?;
        let cron = parser().parse(&fields.join(" ")).map_err(|error| CronError::Field {
            field: "expression",
            value: text.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self(Kind::Cron(Box::new(cron))))
    }

    /// The first run after an instant, or `None` when there is none: on 31 February, for example.
    pub fn next_after(&self, instant: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.0 {
            Kind::Every(every) => instant.checked_add(*every).ok(),
            Kind::Cron(cron) => {
                let found = cron.find_next_occurrence(&instant.to_zoned(zone.clone()), false).ok()?.timestamp();
                (found > instant).then_some(found)
            }
        }
    }

    /// The last run in a window that ends now, and the first one after it, when `due` is a run that is due.
    fn catch_up(
        &self,
        due: Timestamp,
        now: Timestamp,
        window: SignedDuration,
        zone: &TimeZone,
    ) -> (Option<Timestamp>, Option<Timestamp>) {
        let opens = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        if let Kind::Every(every) = &self.0 {
            let whole = now.duration_since(due).as_secs() / every.as_secs().max(1);
            let last = due.checked_add(SignedDuration::from_secs(whole.saturating_mul(every.as_secs()))).ok();
            let next = last.and_then(|it| self.next_after(it, zone));
            return (last.filter(|it| *it >= opens && *it <= now), next);
        }
        let mut last = (due >= opens).then_some(due);
        let mut next = self.next_after(if due >= opens { due } else { opens }, zone);
        // The window is a few seconds long and an expression has one run a second at most, so this ends soon.
        while let Some(at) = next.filter(|at| *at <= now) {
            last = Some(at);
            next = self.next_after(at, zone);
        }
        (last, next)
    }
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build()
}

/// A schedule that has a name.
fn named(name: &str) -> Result<Schedule, CronError> {
    let (name, rest) = name.split_once(char::is_whitespace).map_or((name, ""), |(name, rest)| (name, rest.trim()));
    let expression = match name.to_ascii_lowercase().as_str() {
        "every" => {
            let (shortest, longest) = EVERY;
            let span = rest.parse::<Span>().ok();
            let every = span.and_then(|it| it.to_duration(SpanRelativeTo::days_are_24_hours()).ok());
            let every = every.filter(|it| *it >= shortest && *it <= longest && it.subsec_nanos() == 0);
            let every = every.ok_or_else(|| CronError::Every(rest.to_owned()))?;
            return Ok(Schedule(Kind::Every(every)));
        }
        "hourly" if rest.is_empty() => "0 * * * *",
        "daily" | "midnight" if rest.is_empty() => "0 0 * * *",
        "weekly" if rest.is_empty() => "0 0 * * SUN",
        "monthly" if rest.is_empty() => "0 0 1 * *",
        "yearly" | "annually" if rest.is_empty() => "0 0 1 1 *",
        _ => return Err(CronError::Unknown(format!("@{}", [name, rest].join(" ").trim()))),
    };
    Schedule::parse(expression)
}

/// Checks one field, so that the error names it. The parser would report a part of the expression, accept a name in
/// any field, and ignore an empty item.
fn check(value: &str, at: usize) -> Result<(), CronError> {
    let Some((field, names, signs, expected)) = FIELDS.get(at) else { return Ok(()) };
    let wrong = |problem: String| CronError::Field { field, value: value.to_owned(), problem };
    for item in value.split(',') {
        if item.is_empty() {
            return Err(wrong("an item of the list is empty".to_owned()));
        }
        for word in item.split(['-', '/', '#']) {
            let word = word.to_ascii_uppercase();
            // The last such day of a month, as in `FRIL`.
            let last = word.strip_suffix('L').filter(|_| signs.contains('L'));
            let is_name = names.contains(&word.as_str()) || last.is_some_and(|it| names.contains(&it));
            let is_value = word.chars().all(|c| c.is_ascii_digit() || c == '*' || signs.contains(c));
            if word.is_empty() || !(is_name || is_value) || (item.contains('#') && !signs.contains('#')) {
                return Err(wrong(format!("expected {expected}")));
            }
        }
    }
    // The field alone, with every other field valid.
    let mut fields = ["0", "*", "*", "*", "*", "*"];
    if let Some(it) = fields.get_mut(at) {
        *it = value;
    }
    parser().parse(&fields.join(" ")).map(|_| ()).map_err(|_| wrong(format!("expected {expected}")))
}

/// A duration of this crate's time library.
fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
