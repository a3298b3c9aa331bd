//! The WIT packages whose values a session speaks.
//!
//! Takes nothing; gives the trait that ties the values of a package to the codec. Nothing outside implements it.

use tokio_postgres::types::Type;

use super::codec::{self, Context, Encoded, Reason};
use super::error::{Error, Result};
use super::spin::{self, DbValue, ParameterValue};
use super::value::PgValue;

/// A value of a result: [`PgValue`] or [`DbValue`].
pub trait Value: sealed::Codec + Send + 'static {
    /// The type of parameters.
    type Parameter: Send + Sync;
    /// What describes a column.
    type Column: Send;
}

pub(super) mod sealed {
    use super::{Context, Encoded, Reason, Type};

    /// How the values of a package are sent and received.
    pub trait Codec: Sized {
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn encode(
            parameter: &<Self as super::Value>::Parameter,
            ty: &Type,
            context: Context,
        ) -> Result<Encoded, Reason>
        where
            Self: super::Value;
        #[doc(hidden)]
        #[allow(private_interfaces, reason = "the trait is sealed")]
        fn decode(ty: &Type, raw: Option<&[u8]>, context: Context) -> Result<Self, Reason>;
        #[doc(hidden)]
        fn column(name: &str, ty: &Type) -> <Self as super::Value>::Column
        where
            Self: super::Value;
    }
}

impl Value for PgValue {
    type Parameter = Self;
    type Column = String;
}

impl sealed::Codec for PgValue {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn encode(parameter: &Self, ty: &Type, context: Context) -> std::result::Result<Encoded, Reason> {
        codec::encode::encode(codec::param::parameter(parameter)?, ty, context)
    }

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn decode(ty: &Type, raw: Option<&[u8]>, context: Context) -> std::result::Result<Self, Reason> {
        raw.map_or(Ok(Self::Null), |raw| codec::decode::decode(ty, raw, context))
    }

    fn column(name: &str, _: &Type) -> String {
        name.to_owned()
    }
}

impl Value for DbValue {
    type Parameter = ParameterValue;
    type Column = spin::Column;
}

impl sealed::Codec for DbValue {
    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn encode(parameter: &ParameterValue, ty: &Type, context: Context) -> std::result::Result<Encoded, Reason> {
        codec::encode::encode(spin::parameter(parameter)?, ty, context)
    }

    #[allow(private_interfaces, reason = "the trait is sealed")]
    fn decode(ty: &Type, raw: Option<&[u8]>, _: Context) -> std::result::Result<Self, Reason> {
        raw.map_or(Ok(Self::DbNull), |raw| spin::decode(ty, raw))
    }

    fn column(name: &str, ty: &Type) -> spin::Column {
        spin::Column { name: name.to_owned(), data_type: spin::data_type(ty) }
    }
}

/// Encodes the parameters of a statement.
pub(super) fn encode<V: Value>(parameters: &[V::Parameter], types: &[Type], context: Context) -> Result<Vec<Encoded>> {
    if parameters.len() != types.len() {
        let (expected, found) = (types.len(), parameters.len());
        return Err(Error::InvalidParams(format!("expected {expected} parameters, found {found}")));
    }
    let encode = |(index, (parameter, ty)): (usize, (&V::Parameter, &Type))| {
        V::encode(parameter, ty, context)
            .map_err(|reason| Error::InvalidParams(format!("parameter ${}: {reason}", index + 1)))
    };
    parameters.iter().zip(types).enumerate().map(encode).collect()
}
