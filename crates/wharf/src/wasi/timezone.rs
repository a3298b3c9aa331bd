//! `wasi:clocks/timezone` 0.2 and 0.3, an unstable feature of both: the zone that the calling component was granted, from a
//! database that comes with the program.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, HasData, Lift, Lower};
use workload::manifest::TimeZone as Declared;

use crate::ctx::{Ctx, Scope, View};
use crate::plugin::Link;

/// The time zone that a component was granted.
pub(super) fn granted(declared: &Declared) -> TimeZone {
    match declared {
        Declared::System => TimeZone::try_system().unwrap_or_else(|error| {
            tracing::warn!(%error, "this host's time zone cannot be told; a component that was granted it gets UTC");
            TimeZone::UTC
        }),
        // Known to be in the database since the manifest was read.
        Declared::Named(name) => TimeZoneDatabase::bundled().get(name.as_str()).unwrap_or(TimeZone::UTC),
        _ => TimeZone::UTC,
    }
}

/// The zone of the component that calls.
struct Zone;

impl HasData for Zone {
    type Data<'a> = &'a TimeZone;
}

impl View for Zone {
    type Of = Zone;
    fn view(scope: Scope<'_>) -> &TimeZone {
        &scope.grants.wasi().zone
    }
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct Instant {
    seconds: i64,
    nanoseconds: u32,
}

#[derive(Clone, ComponentType, Lower)]
#[component(record)]
struct TimezoneDisplay {
    #[component(name = "utc-offset")]
    utc_offset: i32,
    name: String,
    #[component(name = "in-daylight-saving-time")]
    in_daylight_saving_time: bool,
}

/// A point in time, unless it is beyond those for which zones are defined (the years -9999 to 9999).
fn at(seconds: i64, nanoseconds: u32) -> Option<Timestamp> {
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

fn display(zone: &TimeZone, when: Datetime) -> TimezoneDisplay {
    let when = i64::try_from(when.seconds).ok().and_then(|seconds| at(seconds, when.nanoseconds));
    let Some(when) = when else {
        return TimezoneDisplay { utc_offset: 0, name: "UTC".to_owned(), in_daylight_saving_time: false };
    };
    let info = zone.to_offset_info(when);
    TimezoneDisplay {
        utc_offset: info.offset().seconds(),
        name: info.abbreviation().to_owned(),
        in_daylight_saving_time: info.dst().is_dst(),
    }
}

const NANOSECONDS: i64 = 1_000_000_000;

fn offset(zone: &TimeZone, when: Instant) -> Option<i64> {
    at(when.seconds, when.nanoseconds).map(|when| i64::from(zone.to_offset(when).seconds()) * NANOSECONDS)
}

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    let get = link.getter::<Zone>();
    let mut instance = link.instance()?;
    instance.func_wrap("display", move |mut store: StoreContextMut<'_, Ctx>, (when,): (Datetime,)| {
        Ok((display(get(store.data_mut()), when),))
    })?;
    instance.func_wrap("utc-offset", move |mut store: StoreContextMut<'_, Ctx>, (when,): (Datetime,)| {
        Ok((display(get(store.data_mut()), when).utc_offset,))
    })
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    let get = link.getter::<Zone>();
    let mut instance = link.instance()?;
    instance.func_wrap("iana-id", move |mut store: StoreContextMut<'_, Ctx>, ()| {
        Ok((get(store.data_mut()).iana_name().map(str::to_owned),))
    })?;
    instance.func_wrap("utc-offset", move |mut store: StoreContextMut<'_, Ctx>, (when,): (Instant,)| {
        Ok((offset(get(store.data_mut()), when),))
    })?;
    instance.func_wrap("to-debug-string", move |mut store: StoreContextMut<'_, Ctx>, ()| {
        let zone = get(store.data_mut());
        let named = zone.iana_name().map(str::to_owned);
        Ok((named.unwrap_or_else(|| zone.to_offset(Timestamp::now()).to_string()),))
    })
}
