//! [`wasi:clocks/timezone`](https://github.com/WebAssembly/wasi-clocks) 0.2 and 0.3, unstable in both: the zone that the calling
//! component is granted, from a database that is compiled into the host.

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, HasData, Lift, Lower};
use workload::manifest::TimeZone as Declared;

use super::grants::Grants;
use crate::plugin::Link;
use crate::store::{Scope, StoreData, View};

/// Returns the time zone that a component is granted.
pub(super) fn granted(declared: &Declared) -> TimeZone {
    match declared {
        Declared::System => TimeZone::try_system().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read the system's time zone; the component gets UTC");
            TimeZone::UTC
        }),
        // The manifest's validation has checked that the database has this zone.
        Declared::Named(name) => TimeZoneDatabase::bundled().get(name.as_str()).unwrap_or(TimeZone::UTC),
        _ => TimeZone::UTC,
    }
}

/// The time zone of the calling component.
struct Zone;

impl HasData for Zone {
    type Data<'a> = &'a TimeZone;
}

impl View for Zone {
    type Of = Zone;
    fn view(scope: Scope<'_>) -> &TimeZone {
        &Grants::of(scope.component).zone
    }
}

/// A point in time of WASI 0.2.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// A point in time of WASI 0.3.
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

/// Converts a point in time. Returns `None` outside of the years -9999 to 9999, for which time zones are defined.
fn timestamp(seconds: i64, nanoseconds: u32) -> Option<Timestamp> {
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
}

/// The display of a point in time. Outside of the defined years it is that of UTC.
fn display(zone: &TimeZone, when: Datetime) -> TimezoneDisplay {
    let when = i64::try_from(when.seconds).ok().and_then(|seconds| timestamp(seconds, when.nanoseconds));
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

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

/// The offset from UTC in nanoseconds.
fn offset(zone: &TimeZone, when: Instant) -> Option<i64> {
    timestamp(when.seconds, when.nanoseconds)
        .map(|when| i64::from(zone.to_offset(when).seconds()) * NANOSECONDS_PER_SECOND)
}

pub(super) fn link_p2(link: &mut Link<'_>) -> wasmtime::Result<()> {
    let get = link.getter::<Zone>();
    let mut instance = link.instance()?;
    instance.func_wrap("display", move |mut store: StoreContextMut<'_, StoreData>, (when,): (Datetime,)| {
        Ok((display(get(store.data_mut()), when),))
    })?;
    instance.func_wrap("utc-offset", move |mut store: StoreContextMut<'_, StoreData>, (when,): (Datetime,)| {
        Ok((display(get(store.data_mut()), when).utc_offset,))
    })
}

pub(super) fn link_p3(link: &mut Link<'_>) -> wasmtime::Result<()> {
    let get = link.getter::<Zone>();
    let mut instance = link.instance()?;
    instance.func_wrap("iana-id", move |mut store: StoreContextMut<'_, StoreData>, ()| {
        Ok((get(store.data_mut()).iana_name().map(str::to_owned),))
    })?;
    instance.func_wrap("utc-offset", move |mut store: StoreContextMut<'_, StoreData>, (when,): (Instant,)| {
        Ok((offset(get(store.data_mut()), when),))
    })?;
    instance.func_wrap("to-debug-string", move |mut store: StoreContextMut<'_, StoreData>, ()| {
        let zone = get(store.data_mut());
        let named = zone.iana_name().map(str::to_owned);
        Ok((named.unwrap_or_else(|| zone.to_offset(Timestamp::now()).to_string()),))
    })
}
