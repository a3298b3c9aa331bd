//! Values: each case of each package, to the server and back.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::super::float::{decode_f32, decode_f64};
use super::super::spin::{Column, DbDataType, DbValue, Interval as Duration, ParameterValue, RangeBoundKind};
use super::super::value::{Date, Interval, Lexeme, LexemeWeight, Offset, Point, Time, TimeTz, Timestamp, TimestampTz};
use super::super::{Error, Postgres, Session};
use super::{PgValue, Server, config, query, session, text, value};

type Case = (&'static str, PgValue);

fn time() -> impl Strategy<Value = Time> {
    (0u32..24, 0u32..60, 0u32..60, 0u32..1_000_000).prop_map(|(hour, min, sec, micro)| Time { hour, min, sec, micro })
}

fn date() -> impl Strategy<Value = Date> {
    prop_oneof![
        Just(Date::PositiveInfinity),
        Just(Date::NegativeInfinity),
        (-4712i32..100_000, 1u32..13, 1u32..29).prop_map(Date::Ymd)
    ]
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (date(), time()).prop_map(|(date, time)| match date {
        Date::Ymd(_) => Timestamp { date, time },
        _ => Timestamp { date, time: Time { hour: 0, min: 0, sec: 0, micro: 0 } },
    })
}

/// A number whose NaN is the usual one: the server's geometric types need not keep others.
fn double() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn point() -> impl Strategy<Value = Point> {
    (-1e9..1e9f64, -1e9..1e9f64).prop_map(|(x, y)| (decode_f64(x), decode_f64(y)))
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 '\"\\\\,{}()ßé→]{0,12}"
}

fn numeric() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[1-9][0-9]{0,40}\\.[0-9]{0,29}[1-9]",
        "-?0\\.[0-9]{0,29}[1-9]",
        "[1-9][0-9]{0,60}",
        Just("NaN".to_owned()),
        Just("-Infinity".to_owned()),
        Just("0".to_owned()),
        Just("0.0000".to_owned()),
    ]
}

fn bits() -> impl Strategy<Value = (u32, Vec<u8>)> {
    vec(any::<bool>(), 0..40).prop_map(|bits| {
        let mut bytes = vec![0u8; bits.len().div_ceil(8)];
        for (index, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
            bytes[index / 8] |= 0x80 >> (index % 8);
        }
        (u32::try_from(bits.len()).unwrap(), bytes)
    })
}

fn uuid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
}

fn money() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,14})\\.[0-9]{2}".prop_filter("-0.00 is 0.00", |text| text != "-0.00")
}

fn range() -> impl Strategy<Value = Interval> {
    // The server writes finite ranges with an inclusive start and an exclusive end.
    prop_oneof![
        (-1000i32..2000, 2001i32..9999).prop_map(|(start, end)| Interval {
            start: Date::Ymd((start, 1, 31)),
            start_inclusive: true,
            end: Date::Ymd((end, 12, 31)),
            end_inclusive: false,
        }),
        Just(Interval {
            start: Date::NegativeInfinity,
            start_inclusive: false,
            end: Date::Ymd((2000, 2, 29)),
            end_inclusive: false,
        }),
        Just(Interval {
            start: Date::NegativeInfinity,
            start_inclusive: true,
            end: Date::PositiveInfinity,
            end_inclusive: true,
        }),
        Just(Interval {
            start: Date::Ymd((2000, 1, 1)),
            start_inclusive: false,
            end: Date::Ymd((2000, 1, 1)),
            end_inclusive: false,
        }),
    ]
}

fn zone() -> impl Strategy<Value = String> {
    prop_oneof![Just("+00:00".to_owned()), "[+-]0[1-9]:[0-5][0-9]", "[+-]1[0-4]:[0-5][0-9]:[0-5][1-9]"]
}

/// A pair of strategies: for a value and for an array of such values.
macro_rules! pair {
    ($ty:literal, $one:ident, $many:ident, $strategy:expr) => {
        prop_oneof![
            $strategy.prop_map(|item| ($ty, PgValue::$one(item))),
            vec($strategy, 0..5).prop_map(|items| (concat!($ty, "[]"), PgValue::$many(items))),
        ]
        .boxed()
    };
}

macro_rules! one {
    ($ty:literal, $one:ident, $strategy:expr) => {
        $strategy.prop_map(|item| ($ty, PgValue::$one(item))).boxed()
    };
}

fn numbers() -> Vec<BoxedStrategy<Case>> {
    vec![
        pair!("int8", Int8, Int8Array, any::<i64>()),
        pair!("int4", Int4, Int4Array, any::<i32>()),
        pair!("int2", Int2, Int2Array, any::<i16>()),
        pair!("int2vector", Int2Vector, Int2VectorArray, vec(any::<i16>(), 0..5)),
        pair!("bool", Bool, BoolArray, any::<bool>()),
        pair!("float8", Float8, Float8Array, double().prop_map(decode_f64)),
        pair!("float4", Float4, Float4Array, any::<u32>().prop_map(|bits| decode_f32(f32::from_bits(bits)))),
        pair!("numeric", Numeric, NumericArray, numeric()),
        pair!("money", Money, MoneyArray, money()),
        pair!("pg_lsn", PgLsn, PgLsnArray, any::<u64>()),
        pair!("varbit", Varbit, VarbitArray, bits().prop_map(|(count, bytes)| (Some(count), bytes))),
        pair!("bytea", Bytea, ByteaArray, vec(any::<u8>(), 0..50)),
        one!("bit(12)", Bit, (any::<u8>(), 0u8..16).prop_map(|(a, b)| (12, vec![a, b << 4]))),
        one!("bit(12)[]", BitArray, vec((any::<u8>(), 0u8..16).prop_map(|(a, b)| (12, vec![a, b << 4])), 0..4)),
    ]
}

fn texts() -> Vec<BoxedStrategy<Case>> {
    let lexeme = |number: u16| {
        (0u8..5).prop_map(move |kind| {
            let data = format!("wo'r\\d {number}");
            let weight = match kind {
                0 => return Lexeme { position: None, weight: None, data },
                1 => LexemeWeight::A,
                2 => LexemeWeight::B,
                3 => LexemeWeight::C,
                _ => LexemeWeight::D,
            };
            Lexeme { position: Some(number + 1), weight: Some(weight), data }
        })
    };
    let hstore = proptest::collection::btree_map(word(), proptest::option::of(word()), 0..4);
    vec![
        pair!("text", Text, TextArray, word()),
        pair!("name", Name, NameArray, word()),
        pair!("varchar", Varchar, VarcharArray, word().prop_map(|word| (None, word.into_bytes()))),
        pair!("char(5)", Char, CharArray, "[a-z]{5}".prop_map(|word: String| (5, word.into_bytes()))),
        pair!(
            "json",
            Json,
            JsonArray,
            word().prop_map(|word| format!("{{ \"a\": {:?} }}", word.replace(['\\', 'ß'], "")))
        ),
        pair!("jsonb", Jsonb, JsonbArray, (0u32..1000).prop_map(|number| format!("{{\"a\": {number}}}"))),
        pair!("xml", Xml, XmlArray, "<a>[a-z]{0,9}</a>"),
        pair!("uuid", Uuid, UuidArray, uuid()),
        one!("tsvector", TsVector, (lexeme(1), lexeme(2), lexeme(3)).prop_map(|(a, b, c)| vec![a, b, c])),
        one!("tsquery", TsQuery, "'[a-z]{1,5}' & \\( '[a-z]{1,5}':\\*A \\| !'[a-z]{1,5}' <-> '[a-z]{1,5}' \\)"),
        hstore
            .prop_map(|pairs| {
                // The server sorts keys by their length first.
                let mut pairs: Vec<_> = pairs.into_iter().collect();
                pairs.sort_by_key(|(key, _)| (key.len(), key.clone()));
                ("hstore", PgValue::Hstore(pairs))
            })
            .boxed(),
    ]
}

fn networks_and_shapes() -> Vec<BoxedStrategy<Case>> {
    let rectangle = || {
        (0.0..1e9f64, 0.0..1e9f64, 0.0..1e9f64, 0.0..1e9f64)
            .prop_map(|(x, y, w, h)| ((decode_f64(-x), decode_f64(-y)), (decode_f64(w), decode_f64(h))))
    };
    // Points with these x are what a result names.
    let line = || {
        (-1000i32..1000, -1000i32..1000)
            .prop_map(|(y1, y2)| ((decode_f64(0.0), decode_f64(y1.into())), (decode_f64(1.0), decode_f64(y2.into()))))
    };
    vec![
        pair!("inet", Inet, InetArray, any::<std::net::IpAddr>().prop_map(|address| address.to_string())),
        pair!("cidr", Cidr, CidrArray, any::<[u8; 2]>().prop_map(|[a, b]| format!("{a}.{b}.0.0/16"))),
        pair!("macaddr", Macaddr, MacaddrArray, any::<[u8; 6]>().prop_map(Into::into)),
        pair!("macaddr8", Macaddr8, Macaddr8Array, any::<[u8; 8]>().prop_map(Into::into)),
        pair!("point", Point, PointArray, point()),
        pair!("box", Box, BoxArray, rectangle()),
        pair!("lseg", Lseg, LsegArray, (point(), point())),
        pair!("line", Line, LineArray, line()),
        pair!("circle", Circle, CircleArray, (point(), (0.0..1e9f64).prop_map(decode_f64))),
        pair!("path", Path, PathArray, vec(point(), 1..6)),
        pair!("polygon", Polygon, PolygonArray, vec(point(), 1..6)),
    ]
}

fn times() -> Vec<BoxedStrategy<Case>> {
    let utc = Offset::WesternHemisphereSecs(0);
    let snapshot = (1i64..100, vec(100i64..200, 0..4)).prop_map(|(xmin, mut running)| {
        running.sort_unstable();
        running.dedup();
        ("pg_snapshot", PgValue::PgSnapshot((xmin, 300, running)))
    });
    vec![
        pair!("date", Date, DateArray, date()),
        pair!("daterange", Interval, IntervalArray, range()),
        pair!("time", Time, TimeArray, time()),
        pair!("timetz", TimeTz, TimeTzArray, (zone(), time()).prop_map(|(timesonze, time)| TimeTz { timesonze, time })),
        pair!("timestamp", Timestamp, TimestampArray, timestamp()),
        pair!(
            "timestamptz",
            TimestampTz,
            TimestampTzArray,
            timestamp().prop_map(move |timestamp| TimestampTz { timestamp, offset: utc })
        ),
        snapshot.boxed(),
    ]
}

#[test]
fn every_value_survives() {
    let server = Server::start();
    let runtime = Runtime::new().unwrap();
    let session = session(&server);
    runtime.block_on(session.batch("CREATE EXTENSION hstore")).unwrap();
    for case in [numbers(), texts(), networks_and_shapes(), times()].into_iter().flatten() {
        let mut runner = TestRunner::new(Config { cases: 60, failure_persistence: None, ..Config::default() });
        let result = runner.run(&case, |(ty, value)| {
            let sql = format!("SELECT $1::{ty}");
            let result = runtime.block_on(session.query(&sql, vec![value.clone()]));
            prop_assert_eq!(result.map(|result| result.rows), Ok(vec![vec![value]]), "{}", ty);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
    }
    drop(session);
}

#[tokio::test]
async fn accepts_every_name_of_a_type() {
    let server = Server::start();
    let session = session(&server);
    let one = (1 << 52, -52, 1);
    let cases = [
        ("int8", PgValue::BigInt(1), PgValue::Int8(1)),
        ("int8", PgValue::BigSerial(1), PgValue::Int8(1)),
        ("int8", PgValue::Serial8(1), PgValue::Int8(1)),
        ("int8", PgValue::TxidSnapshot(1), PgValue::Int8(1)),
        ("int4", PgValue::Int(1), PgValue::Int4(1)),
        ("int4", PgValue::Integer(1), PgValue::Int4(1)),
        ("int4", PgValue::Serial(1), PgValue::Int4(1)),
        ("int4", PgValue::Serial4(1), PgValue::Int4(1)),
        ("int2", PgValue::SmallInt(1), PgValue::Int2(1)),
        ("int2", PgValue::SmallSerial(1), PgValue::Int2(1)),
        ("int2", PgValue::Serial2(1), PgValue::Int2(1)),
        ("bool", PgValue::Boolean(true), PgValue::Bool(true)),
        ("float8", PgValue::Double(one), PgValue::Float8(one)),
        ("float4", PgValue::Real(one), PgValue::Float4((1 << 23, -23, 1))),
        ("numeric", PgValue::Decimal("1.50".to_owned()), PgValue::Numeric("1.50".to_owned())),
        ("varbit", PgValue::BitVarying((None, vec![0xf0])), PgValue::Varbit((Some(8), vec![0xf0]))),
        // A number fits other types of numbers that can hold it.
        ("int2", PgValue::Int8(-5), PgValue::Int2(-5)),
        ("int8", PgValue::Int2(-5), PgValue::Int8(-5)),
        ("numeric", PgValue::Int4(5), PgValue::Numeric("5".to_owned())),
        ("numeric", PgValue::Float8((3, -1, 1)), PgValue::Numeric("1.5".to_owned())),
        ("float8", PgValue::Int4(1), PgValue::Float8(one)),
        ("money", PgValue::Numeric("1.5".to_owned()), PgValue::Money("1.50".to_owned())),
        ("oid", PgValue::Int8(4_000_000_000), PgValue::Int8(4_000_000_000)),
        (
            "uuid",
            text("{A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11}"),
            PgValue::Uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned()),
        ),
        ("int4", text(" 7 "), PgValue::Int4(7)),
        ("int4[]", text("{1,2}"), PgValue::Int4Array(vec![1, 2])),
        ("interval", text("1 day"), text("1 day")),
        ("int4", PgValue::Null, PgValue::Null),
        ("txid_snapshot", PgValue::PgSnapshot((1, 9, vec![3])), PgValue::PgSnapshot((1, 9, vec![3]))),
    ];
    for (ty, given, expected) in cases {
        let result = session.query(&format!("SELECT $1::{ty}"), vec![given.clone()]).await;
        assert_eq!(
            result.unwrap_or_else(|error| panic!("{ty} {given:?}: {error:?}")).rows,
            [[expected]],
            "{ty} {given:?}"
        );
    }
    // A local time, ahead of UTC.
    let noon = Time { hour: 12, min: 0, sec: 0, micro: 0 };
    let given = Timestamp { date: Date::Ymd((2024, 3, 1)), time: noon };
    let given =
        PgValue::TimestampTz(TimestampTz { timestamp: given, offset: Offset::EasternHemisphereSecs(13 * 3600) });
    let found = session.query("SELECT $1::timestamptz = '2024-02-29 23:00Z'", vec![given]).await.unwrap();
    assert_eq!(found.rows, [[PgValue::Bool(true)]]);
}

#[tokio::test]
async fn rejects_values_that_do_not_fit() {
    let server = Server::start();
    let session = session(&server);
    let ymd = |year, month, day| PgValue::Date(Date::Ymd((year, month, day)));
    let cases = [
        ("int2", PgValue::Int4(40_000)),
        ("int4", PgValue::Serial(u32::MAX)),
        ("int4", PgValue::Bool(true)),
        ("text", PgValue::Int4(1)),
        ("float4", PgValue::Float8((1, 200, 1))),
        ("float8", PgValue::Int8(i64::MAX)),
        ("float8", PgValue::Float8((1, 0, 0))),
        ("numeric", PgValue::Numeric("one".to_owned())),
        ("money", PgValue::Money("1.234".to_owned())),
        ("bit(8)", PgValue::Bit((8, vec![0, 0]))),
        ("text", PgValue::Char((1, b"ab".to_vec()))),
        ("text", PgValue::Varchar((None, vec![0xff]))),
        ("date", ymd(2023, 2, 29)),
        ("date", ymd(i32::MAX, 1, 1)),
        ("timestamp", ymd(2024, 1, 1)),
        ("time", PgValue::Time(Time { hour: 24, min: 0, sec: 0, micro: 1 })),
        ("uuid", PgValue::Inet("::1".to_owned())),
        ("int4[]", PgValue::Int4(1)),
        ("int4", PgValue::Int4Array(vec![1])),
        ("int4[]", PgValue::Int8Array(vec![1 << 40])),
        ("tsvector", PgValue::TsVector(vec![Lexeme { position: Some(0), weight: None, data: "a".to_owned() }])),
        ("line", PgValue::Line(((decode_f64(1.0), decode_f64(1.0)), (decode_f64(1.0), decode_f64(1.0))))),
    ];
    for (ty, given) in cases {
        let error = session.query(&format!("SELECT $1::{ty}"), vec![given.clone()]).await.unwrap_err();
        assert!(matches!(error, Error::InvalidParams(_)), "{ty} {given:?}: {error:?}");
    }
}

#[tokio::test]
async fn returns_other_types_as_text() {
    let server = Server::start();
    let session = session(&server);
    session
        .batch(
            "CREATE TYPE mood AS ENUM ('sad', 'gl ad'); CREATE TYPE pair AS (a int, b text); CREATE DOMAIN even AS int",
        )
        .await
        .unwrap();
    let cases = [
        ("'sad'::mood", "sad"),
        ("ARRAY['sad', 'gl ad']::mood[]", "{sad,\"gl ad\"}"),
        ("ROW(1, 'x,y')::pair", "(1,\"x,y\")"),
        ("int4range(1, 10)", "[1,10)"),
        ("'{[1,3),[5,9)}'::int4multirange", "{[1,3),[5,9)}"),
        ("tsrange('2024-01-01', NULL)", "[\"2024-01-01 00:00:00\",)"),
        ("ARRAY[1, NULL, 3]", "{1,NULL,3}"),
        ("ARRAY[[1, 2], [3, 4]]", "{{1,2},{3,4}}"),
        ("ARRAY[[[1], [2]], [[3], [4]]]", "{{{1},{2}},{{3},{4}}}"),
        ("interval '1 year 2 mons -3 days 04:05:06.7'", "1 year 2 mons -3 days 04:05:06.7"),
        ("'$.a'::jsonpath", "$.\"a\""),
        ("'12'::xid8", "12"),
        (
            "ARRAY['infinity'::timestamptz, '2024-01-02 03:04:05.6Z']::text::timestamptz[] || NULL::timestamptz",
            "{infinity,\"2024-01-02 03:04:05.6+00\",NULL}",
        ),
    ];
    server.query("ALTER DATABASE postgres SET timezone = 'UTC'");
    for (expression, expected) in cases {
        assert_eq!(value(&session, &format!("SELECT {expression}")).await, text(expected), "{expression}");
    }
    assert_eq!(value(&session, "SELECT 2::even").await, PgValue::Int4(2));
    let given = session.query("SELECT $1::mood, $2::even", vec![text("sad"), PgValue::Int8(2)]).await.unwrap();
    assert_eq!(given.rows, [[text("sad"), PgValue::Int4(2)]]);
    // One that the server has no binary form of, and one that is unknown here.
    assert!(query(&session, "SELECT 'notes=r/notes'::aclitem").await.is_err());
    let unknown = query(&session, "SELECT relpartbound FROM pg_class WHERE relpartbound IS NOT NULL").await;
    assert!(unknown.is_ok_and(|result| result.rows.is_empty()));
}

#[tokio::test]
async fn speaks_the_values_of_spin() {
    let server = Server::start();
    let session: Session<DbValue> = Postgres::new(config(&server)).unwrap().session();
    macro_rules! same {
        ($($ty:literal $case:ident $value:expr;)*) => {
            vec![$(($ty, DbDataType::$case, ParameterValue::$case($value), DbValue::$case($value)),)*]
        };
    }
    let cases = same! {
        "bool" Boolean true;
        "int2" Int16 -7;
        "int4" Int32 i32::MIN;
        "int8" Int64 i64::MAX;
        "float4" Floating32 1.5;
        "float8" Floating64 f64::NEG_INFINITY;
        "text" Str "a'ß".to_owned();
        "varchar" Str "b".to_owned();
        "bytea" Binary vec![0, 255];
        "date" Date (2024, 2, 29);
        "time" Time (23, 59, 58, 123_456_000);
        "timestamp" Datetime (1969, 12, 31, 23, 59, 59, 999_999_000);
        "timestamptz" Datetime (2024, 2, 29, 1, 2, 3, 0);
        "uuid" Uuid "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned();
        "jsonb" Jsonb br#"{"a": 1}"#.to_vec();
        "numeric" Decimal "-123456789012345678901234567890.123456789".to_owned();
        "int4range" RangeInt32 (Some((1, RangeBoundKind::Inclusive)), Some((5, RangeBoundKind::Exclusive)));
        "int8range" RangeInt64 (None, Some((5, RangeBoundKind::Exclusive)));
        "numrange" RangeDecimal (Some(("1.5".to_owned(), RangeBoundKind::Inclusive)), None);
        "int4[]" ArrayInt32 vec![Some(1), None];
        "int8[]" ArrayInt64 vec![];
        "numeric[]" ArrayDecimal vec![Some("1.50".to_owned()), None];
        "text[]" ArrayStr vec![Some("a\"b,c".to_owned()), None, Some(String::new()), Some("NULL".to_owned())];
        "interval" Interval Duration { micros: -1, days: 2, months: -3 };
    };
    for (ty, data_type, given, expected) in cases {
        let result = session.query(&format!("SELECT $1::{ty} AS a"), vec![given]).await.unwrap();
        assert_eq!(result.columns, [Column { name: "a".to_owned(), data_type }]);
        assert_eq!(result.rows, [[expected]], "{ty}");
    }
    let given = vec![ParameterValue::DbNull, ParameterValue::Int8(5), ParameterValue::Timestamp(-1)];
    let result = session.query("SELECT $1::int, $2::\"char\", $3::timestamptz", given).await.unwrap();
    assert_eq!(result.columns[1].data_type, DbDataType::Other("char".to_owned()));
    let moment = DbValue::Datetime((1969, 12, 31, 23, 59, 59, 0));
    assert_eq!(result.rows, [[DbValue::DbNull, DbValue::Unsupported(vec![5]), moment]]);
    let wrong = session.query("SELECT $1::int", vec![ParameterValue::Boolean(true)]).await.unwrap_err();
    assert!(matches!(wrong, Error::InvalidParams(_)), "{wrong:?}");
    let odd = session.query("SELECT 'infinity'::date, ARRAY[[1]]", Vec::new()).await.unwrap();
    assert!(odd.rows[0].iter().all(|value| matches!(value, DbValue::Unsupported(_))), "{odd:?}");
}
