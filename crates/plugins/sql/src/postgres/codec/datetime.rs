//! Dates and times.
//!
//! Takes dates of the proleptic Gregorian calendar, where the year 0 is 1 BC, and times; gives PostgreSQL's counts of
//! days and microseconds since 2000, and back. An invalid date is an error and never another date.

use super::super::value::{Date, Interval, Offset, Time, TimeTz, Timestamp, TimestampTz};
use super::Reason;
use super::reader::{Reader, malformed};

const DAY: i64 = 86_400_000_000;
const SECOND: i64 = 1_000_000;
/// The days from the epoch of the civil calendar's algorithm, 0000-03-01, to 2000-01-01.
const EPOCH: i64 = 730_425;
/// The greatest difference to UTC that PostgreSQL knows, in seconds.
const MAX_OFFSET: i32 = 16 * 3600 - 1;

/// The days from 2000-01-01 to a date.
fn days(year: i32, month: u32, day: u32) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day == 0 || day > last {
        return None;
    }
    // A year starts in March, so that the leap day is its last day.
    let (month, day) = (i64::from(month), i64::from(day));
    let year = i64::from(year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH)
}

/// The date that is some days after 2000-01-01.
fn civil(days: i64) -> Result<(i32, u32, u32), Reason> {
    let days = days + EPOCH;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let convert = || Some((year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?));
    convert().ok_or_else(malformed)
}

pub(in super::super) fn encode_date(date: Date) -> Result<i32, Reason> {
    match date {
        Date::PositiveInfinity => Ok(i32::MAX),
        Date::NegativeInfinity => Ok(i32::MIN),
        Date::Ymd((year, month, day)) => {
            let wrong = || format!("{year}-{month}-{day} is no date");
            let days = days(year, month, day).and_then(|days| i32::try_from(days).ok());
            days.filter(|days| !matches!(*days, i32::MIN | i32::MAX)).ok_or_else(wrong)
        }
    }
}

pub(in super::super) fn decode_date(days: i32) -> Result<Date, Reason> {
    match days {
        i32::MAX => Ok(Date::PositiveInfinity),
        i32::MIN => Ok(Date::NegativeInfinity),
        days => civil(days.into()).map(Date::Ymd),
    }
}

pub(in super::super) fn encode_time(time: Time) -> Result<i64, Reason> {
    let Time { hour, min, sec, micro } = time;
    let total = i64::from(hour) * 3600 * SECOND + i64::from(min) * 60 * SECOND + i64::from(sec) * SECOND;
    let total = total + i64::from(micro);
    if hour > 24 || min > 59 || sec > 59 || micro > 999_999 || total > DAY {
        return Err(format!("{hour}:{min}:{sec}.{micro:06} is no time of the day"));
    }
    Ok(total)
}

pub(in super::super) fn decode_time(micros: i64) -> Result<Time, Reason> {
    let micros = u64::try_from(micros).map_err(|_| malformed())?;
    let part = |unit: u64, modulus: u64| u32::try_from(micros / unit % modulus).map_err(|_| malformed());
    Ok(Time {
        hour: part(3_600_000_000, 1000)?,
        min: part(60_000_000, 60)?,
        sec: part(1_000_000, 60)?,
        micro: part(1, 1_000_000)?,
    })
}

/// The microseconds of a local date and time that is `east` seconds ahead of UTC.
fn encode_micros(timestamp: Timestamp, east: i64) -> Result<i64, Reason> {
    let Date::Ymd((year, month, day)) = timestamp.date else {
        return Ok(if timestamp.date == Date::PositiveInfinity { i64::MAX } else { i64::MIN });
    };
    let wrong = || format!("{year}-{month}-{day} is no date of a timestamp");
    let days = days(year, month, day).ok_or_else(wrong)?;
    let time = encode_time(timestamp.time)? - east * SECOND;
    let micros = days.checked_mul(DAY).and_then(|micros| micros.checked_add(time));
    micros.filter(|micros| !matches!(*micros, i64::MIN | i64::MAX)).ok_or_else(wrong)
}

pub(in super::super) fn encode_timestamp(timestamp: Timestamp) -> Result<i64, Reason> {
    encode_micros(timestamp, 0)
}

pub(in super::super) fn decode_timestamp(micros: i64) -> Result<Timestamp, Reason> {
    let zero = Time { hour: 0, min: 0, sec: 0, micro: 0 };
    Ok(match micros {
        i64::MAX => Timestamp { date: Date::PositiveInfinity, time: zero },
        i64::MIN => Timestamp { date: Date::NegativeInfinity, time: zero },
        micros => {
            Timestamp { date: Date::Ymd(civil(micros.div_euclid(DAY))?), time: decode_time(micros.rem_euclid(DAY))? }
        }
    })
}

pub(in super::super) fn encode_timestamp_tz(value: TimestampTz) -> Result<i64, Reason> {
    let (seconds, east) = match value.offset {
        Offset::EasternHemisphereSecs(seconds) => (seconds, i64::from(seconds)),
        Offset::WesternHemisphereSecs(seconds) => (seconds, -i64::from(seconds)),
    };
    if !(-MAX_OFFSET..=MAX_OFFSET).contains(&seconds) {
        return Err(format!("{seconds} seconds is no offset from UTC"));
    }
    encode_micros(value.timestamp, east)
}

pub(in super::super) fn decode_timestamp_tz(micros: i64) -> Result<TimestampTz, Reason> {
    Ok(TimestampTz { timestamp: decode_timestamp(micros)?, offset: Offset::WesternHemisphereSecs(0) })
}

/// The bytes of a `timetz`: the local time, and the seconds that it is behind UTC.
pub(in super::super) fn encode_time_tz(value: &TimeTz) -> Result<Vec<u8>, Reason> {
    let east = zone(&value.timesonze)
        .ok_or_else(|| format!("`{}` is no offset from UTC such as `+02:00`", value.timesonze))?;
    Ok([&encode_time(value.time)?.to_be_bytes()[..], &(-east).to_be_bytes()].concat())
}

pub(in super::super) fn decode_time_tz(reader: &mut Reader<'_>) -> Result<TimeTz, Reason> {
    let time = decode_time(reader.i64()?)?;
    let west = reader.i32()?;
    let seconds = west.unsigned_abs();
    let sign = if west > 0 { '-' } else { '+' };
    let timesonze = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let timesonze = timesonze.strip_suffix(":00").unwrap_or(&timesonze).to_owned();
    Ok(TimeTz { timesonze, time })
}

/// The seconds that an offset such as `+02:00` is ahead of UTC.
fn zone(text: &str) -> Option<i32> {
    if text.is_empty() || text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") {
        return Some(0);
    }
    let sign = match text.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text[1..].split(':') {
        let is_number = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || unit == 0 {
            return None;
        }
        let number: i32 = part.parse().ok()?;
        if unit < 3600 && number > 59 {
            return None;
        }
        seconds += number * unit;
        unit /= 60;
    }
    (seconds <= MAX_OFFSET).then_some(sign * seconds)
}

const EMPTY: u8 = 1;
const LOWER_INCLUSIVE: u8 = 2;
const UPPER_INCLUSIVE: u8 = 4;
const NO_LOWER: u8 = 8;
const NO_UPPER: u8 = 16;

/// The bytes of a `daterange`.
pub(in super::super) fn encode_interval(range: Interval) -> Result<Vec<u8>, Reason> {
    if range.start == range.end && !(range.start_inclusive && range.end_inclusive) {
        return Ok(vec![EMPTY]);
    }
    let mut bytes = vec![0];
    let mut bound = |date: Date, inclusive: bool, flag: u8, open: u8, infinity: Date| {
        if date == infinity && !inclusive {
            bytes[0] |= open;
            return Ok(());
        }
        bytes[0] |= if inclusive { flag } else { 0 };
        bytes.extend(4i32.to_be_bytes());
        bytes.extend(encode_date(date)?.to_be_bytes());
        Ok::<_, Reason>(())
    };
    bound(range.start, range.start_inclusive, LOWER_INCLUSIVE, NO_LOWER, Date::NegativeInfinity)?;
    bound(range.end, range.end_inclusive, UPPER_INCLUSIVE, NO_UPPER, Date::PositiveInfinity)?;
    Ok(bytes)
}

pub(in super::super) fn decode_interval(raw: &[u8]) -> Result<Interval, Reason> {
    let range = range(raw)?;
    let date = |bound: Option<&[u8]>, infinity: Date| match bound {
        None => Ok(infinity),
        Some(raw) => super::reader::whole(raw, Reader::i32).and_then(decode_date),
    };
    if range.is_empty {
        let date = Date::Ymd((2000, 1, 1));
        return Ok(Interval { start: date, start_inclusive: false, end: date, end_inclusive: false });
    }
    Ok(Interval {
        start: date(range.lower, Date::NegativeInfinity)?,
        start_inclusive: range.lower_inclusive,
        end: date(range.upper, Date::PositiveInfinity)?,
        end_inclusive: range.upper_inclusive,
    })
}

/// The parts of a range of any type.
pub(in super::super) struct Range<'a> {
    pub(in super::super) is_empty: bool,
    pub(in super::super) lower: Option<&'a [u8]>,
    pub(in super::super) lower_inclusive: bool,
    pub(in super::super) upper: Option<&'a [u8]>,
    pub(in super::super) upper_inclusive: bool,
}

pub(in super::super) fn range(raw: &[u8]) -> Result<Range<'_>, Reason> {
    super::reader::whole(raw, |reader| {
        let flags = reader.u8()?;
        let is_empty = flags & EMPTY != 0;
        let lower = if is_empty || flags & NO_LOWER != 0 { None } else { reader.field()? };
        let upper = if is_empty || flags & NO_UPPER != 0 { None } else { reader.field()? };
        Ok(Range {
            is_empty,
            lower,
            lower_inclusive: flags & LOWER_INCLUSIVE != 0,
            upper,
            upper_inclusive: flags & UPPER_INCLUSIVE != 0,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{civil, days, zone};

    #[test]
    fn counts_days() {
        assert_eq!(days(2000, 1, 1), Some(0));
        assert_eq!(days(1970, 1, 1), Some(-10_957));
        assert_eq!(days(2024, 2, 29), Some(8825));
        assert_eq!(days(-4713, 11, 24), Some(-2_451_545), "the first day of the Julian count");
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2000, 0, 1), (2000, 13, 1), (2000, 4, 31), (2000, 1, 0)]
        {
            assert_eq!(days(year, month, day), None, "{year}-{month}-{day}");
        }
        for count in (-3_000_000..3_000_000).step_by(997) {
            let (year, month, day) = civil(count).unwrap();
            assert_eq!(days(year, month, day), Some(count));
        }
    }

    #[test]
    fn reads_zones() {
        assert_eq!(zone("-05:30"), Some(-19_800));
        assert_eq!(zone("+1:02:03"), Some(3723));
        assert_eq!(zone("UTC"), Some(0));
        for text in ["5", "+", "+24:00", "+1:60", "+1:2:3:4", "+1:", "Europe/Berlin", "+ü"] {
            assert_eq!(zone(text), None, "{text}");
        }
    }
}
