//! The values of `wasmcloud:postgres`, case by case.
//!
//! Takes nothing; gives types that a host maps one to one, for both versions of the package.

use wasmtime::component::{ComponentType, Lift, Lower};

/// A floating-point number as mantissa, exponent and sign: `sign * mantissa * 2^exponent`. See [`super::float`] for
/// infinities and NaN.
pub type HashableF64 = (u64, i16, i8);
/// A number of single precision in the same form.
pub type HashableF32 = HashableF64;
/// A point of a plane: x, y.
pub type Point = (HashableF64, HashableF64);
/// A decimal number as text.
pub type Numeric = String;
/// The number of bits, and the bits from the most significant one of the first byte on.
pub type Bits = (u32, Vec<u8>);
/// Like [`Bits`]. Without a number, all bits of the bytes count. A number that exceeds the bits is a limit.
pub type VarBits = (Option<u32>, Vec<u8>);

/// The weight of a lexeme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum LexemeWeight {
    /// The highest.
    A,
    /// The second.
    B,
    /// The third.
    C,
    /// The lowest, which is the default.
    D,
}

/// A word of a `tsvector`, at one position or at none. A word at several positions is several lexemes.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Lexeme {
    /// The position, from 1 to 16,383.
    pub position: Option<u16>,
    /// The weight. It needs a position.
    pub weight: Option<LexemeWeight>,
    /// The word.
    pub data: String,
}

/// The difference of a local time to UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Offset {
    /// Seconds that the local time is ahead.
    #[component(name = "eastern-hemisphere-secs")]
    EasternHemisphereSecs(i32),
    /// Seconds that the local time is behind.
    #[component(name = "western-hemisphere-secs")]
    WesternHemisphereSecs(i32),
}

/// A date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(variant)]
pub enum Date {
    /// Later than all other dates.
    #[component(name = "positive-infinity")]
    PositiveInfinity,
    /// Earlier than all other dates.
    #[component(name = "negative-infinity")]
    NegativeInfinity,
    /// Year, month from 1 to 12, day from 1 to 31. The year 0 is 1 BC.
    #[component(name = "ymd")]
    Ymd((i32, u32, u32)),
}

/// A range of dates: PostgreSQL's `daterange`, not its `interval`.
///
/// An infinite date that is excluded means that there is no bound. An empty range starts and ends, exclusively, at the
/// same date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Interval {
    /// The lower bound.
    pub start: Date,
    /// Whether the range includes its lower bound.
    #[component(name = "start-inclusive")]
    pub start_inclusive: bool,
    /// The upper bound.
    pub end: Date,
    /// Whether the range includes its upper bound.
    #[component(name = "end-inclusive")]
    pub end_inclusive: bool,
}

/// A time of the day. 24:00:00 is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Time {
    /// The hour.
    pub hour: u32,
    /// The minute.
    pub min: u32,
    /// The second.
    pub sec: u32,
    /// The microsecond.
    pub micro: u32,
}

/// A time of the day at a difference to UTC.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct TimeTz {
    /// The difference to UTC: `Z`, or `+HH`, `+HH:MM` or `+HH:MM:SS`, with `-` to the west. The name is the package's.
    pub timesonze: String,
    /// The local time.
    pub time: Time,
}

/// A date and a time. The time of an infinite date is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Timestamp {
    /// The date.
    pub date: Date,
    /// The time.
    pub time: Time,
}

/// A local date and time at a difference to UTC. PostgreSQL keeps the instant only, so results are in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct TimestampTz {
    /// The local date and time.
    pub timestamp: Timestamp,
    /// The difference to UTC.
    pub offset: Offset,
}

/// An address of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct MacAddressEui48 {
    /// Its bytes.
    pub bytes: (u8, u8, u8, u8, u8, u8),
}

impl From<[u8; 6]> for MacAddressEui48 {
    fn from([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self { bytes: (a, b, c, d, e, f) }
    }
}

impl From<MacAddressEui48> for [u8; 6] {
    fn from(MacAddressEui48 { bytes: (a, b, c, d, e, f) }: MacAddressEui48) -> Self {
        [a, b, c, d, e, f]
    }
}

/// An address of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct MacAddressEui64 {
    /// Its bytes.
    pub bytes: (u8, u8, u8, u8, u8, u8, u8, u8),
}

impl From<[u8; 8]> for MacAddressEui64 {
    fn from([a, b, c, d, e, f, g, h]: [u8; 8]) -> Self {
        Self { bytes: (a, b, c, d, e, f, g, h) }
    }
}

impl From<MacAddressEui64> for [u8; 8] {
    fn from(MacAddressEui64 { bytes: (a, b, c, d, e, f, g, h) }: MacAddressEui64) -> Self {
        [a, b, c, d, e, f, g, h]
    }
}

macro_rules! pg_values {
    ($($(#[$doc:meta])* $name:ident $(($inner:ty))? = $wit:literal),* $(,)?) => {
        /// A value that a statement takes or returns. Mirrors `wasmcloud:postgres/types.pg-value`.
        ///
        /// Some types have several names. A statement takes each, and returns the shortest of PostgreSQL's own: `Int8`
        /// and not `BigInt`. A value of a type without a case, an array with NULLs and an array of several dimensions
        /// come as `Text`.
        #[derive(Clone, Debug, PartialEq, ComponentType, Lift, Lower)]
        #[component(variant)]
        pub enum PgValue {
            $($(#[$doc])* #[component(name = $wit)] $name $(($inner))?,)*
        }
    };
}

pg_values! {
    /// NULL, for a parameter of any type.
    Null = "null",
    /// `bigint`.
    BigInt(i64) = "big-int",
    /// `bigint`.
    Int8(i64) = "int8",
    /// `bigint[]`.
    Int8Array(Vec<i64>) = "int8-array",
    /// `bigint`.
    BigSerial(i64) = "big-serial",
    /// `bigint`.
    Serial8(i64) = "serial8",
    /// `boolean`.
    Bool(bool) = "bool",
    /// `boolean`.
    Boolean(bool) = "boolean",
    /// `boolean[]`.
    BoolArray(Vec<bool>) = "bool-array",
    /// `double precision`.
    Double(HashableF64) = "double",
    /// `double precision`.
    Float8(HashableF64) = "float8",
    /// `double precision[]`.
    Float8Array(Vec<HashableF64>) = "float8-array",
    /// `real`.
    Real(HashableF32) = "real",
    /// `real`.
    Float4(HashableF32) = "float4",
    /// `real[]`.
    Float4Array(Vec<HashableF32>) = "float4-array",
    /// `integer`.
    Integer(i32) = "integer",
    /// `integer`.
    Int(i32) = "int",
    /// `integer`.
    Int4(i32) = "int4",
    /// `integer[]`.
    Int4Array(Vec<i32>) = "int4-array",
    /// `numeric`.
    Numeric(Numeric) = "numeric",
    /// `numeric`.
    Decimal(Numeric) = "decimal",
    /// `numeric[]`.
    NumericArray(Vec<Numeric>) = "numeric-array",
    /// `integer`.
    Serial(u32) = "serial",
    /// `integer`.
    Serial4(u32) = "serial4",
    /// `smallint`.
    SmallInt(i16) = "small-int",
    /// `smallint`.
    Int2(i16) = "int2",
    /// `smallint[]`.
    Int2Array(Vec<i16>) = "int2-array",
    /// `int2vector`.
    Int2Vector(Vec<i16>) = "int2-vector",
    /// `int2vector[]`.
    Int2VectorArray(Vec<Vec<i16>>) = "int2-vector-array",
    /// `smallint`.
    SmallSerial(i16) = "small-serial",
    /// `smallint`.
    Serial2(i16) = "serial2",
    /// `bit(n)`.
    Bit(Bits) = "bit",
    /// `bit(n)[]`.
    BitArray(Vec<Bits>) = "bit-array",
    /// `bit varying`.
    BitVarying(VarBits) = "bit-varying",
    /// `bit varying`.
    Varbit(VarBits) = "varbit",
    /// `bit varying[]`.
    VarbitArray(Vec<VarBits>) = "varbit-array",
    /// `bytea`.
    Bytea(Vec<u8>) = "bytea",
    /// `bytea[]`.
    ByteaArray(Vec<Vec<u8>>) = "bytea-array",
    /// `char(n)`, as the number of its bytes and the bytes in UTF-8.
    Char((u32, Vec<u8>)) = "char",
    /// `char(n)[]`.
    CharArray(Vec<(u32, Vec<u8>)>) = "char-array",
    /// `varchar`, as the most bytes that it may have, if that is known, and the bytes in UTF-8.
    Varchar((Option<u32>, Vec<u8>)) = "varchar",
    /// `varchar[]`.
    VarcharArray(Vec<(Option<u32>, Vec<u8>)>) = "varchar-array",
    /// `cidr`.
    Cidr(String) = "cidr",
    /// `cidr[]`.
    CidrArray(Vec<String>) = "cidr-array",
    /// `inet`.
    Inet(String) = "inet",
    /// `inet[]`.
    InetArray(Vec<String>) = "inet-array",
    /// `macaddr`.
    Macaddr(MacAddressEui48) = "macaddr",
    /// `macaddr[]`.
    MacaddrArray(Vec<MacAddressEui48>) = "macaddr-array",
    /// `macaddr8`.
    Macaddr8(MacAddressEui64) = "macaddr8",
    /// `macaddr8[]`.
    Macaddr8Array(Vec<MacAddressEui64>) = "macaddr8-array",
    /// `box`: the lower left corner and the upper right one.
    Box((Point, Point)) = "box",
    /// `box[]`.
    BoxArray(Vec<(Point, Point)>) = "box-array",
    /// `circle`: the centre and the radius.
    Circle((Point, HashableF64)) = "circle",
    /// `circle[]`.
    CircleArray(Vec<(Point, HashableF64)>) = "circle-array",
    /// `line`: two of its points. PostgreSQL keeps an equation, so results name other points of the line.
    Line((Point, Point)) = "line",
    /// `line[]`.
    LineArray(Vec<(Point, Point)>) = "line-array",
    /// `lseg`: its ends.
    Lseg((Point, Point)) = "lseg",
    /// `lseg[]`.
    LsegArray(Vec<(Point, Point)>) = "lseg-array",
    /// `path`: its points. A parameter is an open path, and a result does not tell an open path from a closed one.
    Path(Vec<Point>) = "path",
    /// `path[]`.
    PathArray(Vec<Vec<Point>>) = "path-array",
    /// `point`.
    Point(Point) = "point",
    /// `point[]`.
    PointArray(Vec<Point>) = "point-array",
    /// `polygon`: its corners.
    Polygon(Vec<Point>) = "polygon",
    /// `polygon[]`.
    PolygonArray(Vec<Vec<Point>>) = "polygon-array",
    /// `date`.
    Date(Date) = "date",
    /// `date[]`.
    DateArray(Vec<Date>) = "date-array",
    /// `daterange`.
    Interval(Interval) = "interval",
    /// `daterange[]`.
    IntervalArray(Vec<Interval>) = "interval-array",
    /// `time`.
    Time(Time) = "time",
    /// `time[]`.
    TimeArray(Vec<Time>) = "time-array",
    /// `time with time zone`.
    TimeTz(TimeTz) = "time-tz",
    /// `time with time zone[]`.
    TimeTzArray(Vec<TimeTz>) = "time-tz-array",
    /// `timestamp`.
    Timestamp(Timestamp) = "timestamp",
    /// `timestamp[]`.
    TimestampArray(Vec<Timestamp>) = "timestamp-array",
    /// `timestamp with time zone`.
    TimestampTz(TimestampTz) = "timestamp-tz",
    /// `timestamp with time zone[]`.
    TimestampTzArray(Vec<TimestampTz>) = "timestamp-tz-array",
    /// `json`, exactly as it was written.
    Json(String) = "json",
    /// `json[]`.
    JsonArray(Vec<String>) = "json-array",
    /// `jsonb`.
    Jsonb(String) = "jsonb",
    /// `jsonb[]`.
    JsonbArray(Vec<String>) = "jsonb-array",
    /// `money`, as a decimal number.
    Money(Numeric) = "money",
    /// `money[]`.
    MoneyArray(Vec<Numeric>) = "money-array",
    /// `pg_lsn`.
    PgLsn(u64) = "pg-lsn",
    /// `pg_lsn[]`.
    PgLsnArray(Vec<u64>) = "pg-lsn-array",
    /// `pg_snapshot` or `txid_snapshot`: xmin, xmax and the transactions in progress.
    PgSnapshot((i64, i64, Vec<i64>)) = "pg-snapshot",
    /// A transaction id, for a `bigint` or `xid8`. PostgreSQL's type `txid_snapshot` does not fit this case of the
    /// package, which has one number: its values come as [`PgValue::PgSnapshot`].
    TxidSnapshot(i64) = "txid-snapshot",
    /// `name`.
    Name(String) = "name",
    /// `name[]`.
    NameArray(Vec<String>) = "name-array",
    /// `text`. As a parameter it fits each type: the server reads it as it would read a literal.
    Text(String) = "text",
    /// `text[]`.
    TextArray(Vec<String>) = "text-array",
    /// `xml`.
    Xml(String) = "xml",
    /// `xml[]`.
    XmlArray(Vec<String>) = "xml-array",
    /// `tsquery`.
    TsQuery(String) = "ts-query",
    /// `tsvector`.
    TsVector(Vec<Lexeme>) = "ts-vector",
    /// `uuid`.
    Uuid(String) = "uuid",
    /// `uuid[]`.
    UuidArray(Vec<String>) = "uuid-array",
    /// `hstore`.
    Hstore(Vec<(String, Option<String>)>) = "hstore",
}
