//! Returns the time zone that it is granted.

wit_bindgen::generate!({ path: "../../wit/zones.wit", world: "zones", generate_all });

use wasi::clocks0_2_12 as p2;
use wasi::clocks0_3_0 as p3;

struct Zones;

export!(Zones);

impl Guest for Zones {
    fn display(seconds: u64) -> String {
        let when = p2::wall_clock::Datetime { seconds, nanoseconds: 0 };
        let shown = p2::timezone::display(when);
        let offset = p2::timezone::utc_offset(when);
        assert_eq!(shown.utc_offset, offset);
        format!("{offset:+} {} {}", shown.name, shown.in_daylight_saving_time)
    }

    fn told(seconds: i64) -> String {
        let when = p3::system_clock::Instant { seconds, nanoseconds: 0 };
        let (id, shown) = (p3::timezone::iana_id(), p3::timezone::to_debug_string());
        format!("{id:?} {shown} {:?}", p3::timezone::utc_offset(when))
    }
}
