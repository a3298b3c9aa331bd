//! What a component has of its databases: the data of all bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};
use wharf::{Scope, View};
use wharf_stores::{Held, InFlight};

use crate::postgres::{Error, PgValue};
use crate::store::Access;

/// The databases of one component, by the name that the guest opens.
pub(crate) struct Granted {
    pub(crate) by_name: BTreeMap<String, Arc<Access>>,
    /// The one that interfaces without names use.
    pub(crate) sole: Option<Arc<Access>>,
}

/// The data of the bindings: the calling component's databases and handles.
pub(crate) struct Databases<'a> {
    pub(crate) granted: &'a Granted,
    pub(crate) table: &'a mut ResourceTable,
    in_flight: &'a InFlight,
    /// The guest's memory limit, in bytes.
    most: u64,
}

/// Names the data of the bindings, [`Databases`].
pub(crate) struct HasDatabases;

impl HasData for HasDatabases {
    type Data<'a> = Databases<'a>;
}

impl View for HasDatabases {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Databases<'_> {
        Databases {
            granted: scope.binding(),
            table: scope.table,
            in_flight: InFlight::of(scope.state),
            most: scope.tracker.limits().memory,
        }
    }
}

impl Databases<'_> {
    /// Holds the text of a statement and its parameters while it is in progress.
    ///
    /// # Errors
    /// [`Error::InvalidParams`] if all statements in progress exceed the guest's memory limit.
    pub(crate) fn hold(&self, statement: &str, parameters: &[PgValue]) -> Result<Held, Error> {
        let bytes = statement.len() + parameters.iter().map(size).sum::<usize>();
        self.in_flight.hold(bytes as u64, self.most).ok_or_else(|| {
            let most = self.most;
            Error::InvalidParams(format!("the statements in progress exceed the memory limit of {most} bytes"))
        })
    }
}

/// About the memory of a value, in bytes.
fn size(value: &PgValue) -> usize {
    use PgValue as V;
    let heap = match value {
        V::Bytea(bytes) | V::Char((_, bytes)) | V::Varchar((_, bytes)) => bytes.len(),
        V::Text(text) | V::Json(text) | V::Jsonb(text) | V::Xml(text) | V::Name(text) | V::TsQuery(text) => text.len(),
        V::ByteaArray(all) => all.iter().map(Vec::len).sum(),
        V::CharArray(all) => all.iter().map(|(_, bytes)| bytes.len()).sum(),
        V::VarcharArray(all) => all.iter().map(|(_, bytes)| bytes.len()).sum(),
        V::TextArray(all) | V::JsonArray(all) | V::JsonbArray(all) | V::XmlArray(all) | V::NameArray(all) => {
            all.iter().map(String::len).sum()
        }
        V::Hstore(all) => all.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, String::len)).sum(),
        // Numbers, times and addresses, and lists of them.
        _ => 0,
    };
    heap + size_of::<PgValue>()
}
