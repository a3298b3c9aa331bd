//! What a component has of its databases: the data of all bindings.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::{HasData, ResourceTable};
use wharf::{Scope, View};

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
}

/// Names the data of the bindings, [`Databases`].
pub(crate) struct HasDatabases;

impl HasData for HasDatabases {
    type Data<'a> = Databases<'a>;
}

impl View for HasDatabases {
    type Of = Self;
    fn view(scope: Scope<'_>) -> Databases<'_> {
        Databases { granted: scope.binding(), table: scope.table }
    }
}
