//! Releases the memory of header fields that a component deletes. The map keeps its capacity, which the host cannot
//! measure, so `delete` and `set` move the remaining fields into a map of their own size.

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView};
use wharf::store::Getter;
use wharf::{Link, StoreData};

use crate::outbound::Http;

const SET: &str = "[method]fields.set";
const DELETE: &str = "[method]fields.delete";
const GET_AND_DELETE: &str = "[method]fields.get-and-delete";

type Delete = (Resource<FieldMap>, String);
type Set = (Resource<FieldMap>, String, Vec<Vec<u8>>);

/// A second handle to the same fields, because the bindings take theirs by value.
fn borrow(fields: &Resource<FieldMap>) -> Resource<FieldMap> {
    Resource::new_borrow(fields.rep())
}

/// Repeats the last change while a copy of the fields exists: copy-on-write then clones the map, and the clone's
/// capacity fits its contents.
fn shrink(view: &mut WasiHttpCtxView<'_>, fields: &Resource<FieldMap>, name: String, values: Option<Vec<Vec<u8>>>) {
    let Ok(fields) = view.table.get_mut(fields) else { return };
    let _copy = fields.clone();
    // The change succeeded before, so it succeeds again.
    match values {
        Some(values) => _ = fields.set(view.hooks, name, values).ok(),
        None => _ = fields.remove_all(view.hooks, name).ok(),
    }
}

/// Replaces the functions of WASI 0.2 that delete fields.
pub(crate) fn link_p2(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    link.replace(|instance| {
        instance.func_wrap(DELETE, move |mut store: StoreContextMut<'_, StoreData>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p2::HostFields::delete(view, borrow(&fields), name.clone());
            Ok((match deleted {
                Ok(()) => {
                    shrink(view, &fields, name, None);
                    Ok(())
                }
                Err(error) => Err(p2::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(SET, move |mut store: StoreContextMut<'_, StoreData>, (fields, name, values): Set| {
            let view = &mut get(store.data_mut());
            let set = p2::HostFields::set(view, borrow(&fields), name.clone(), values.clone());
            Ok((match set {
                Ok(()) => {
                    shrink(view, &fields, name, Some(values));
                    Ok(())
                }
                Err(error) => Err(p2::Host::convert_header_error(view, error)?),
            },))
        })
    })
}

/// Replaces the functions of WASI 0.3 that delete fields.
pub(crate) fn link_p3(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    link.replace(|instance| {
        instance.func_wrap(DELETE, move |mut store: StoreContextMut<'_, StoreData>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p3::HostFields::delete(view, borrow(&fields), name.clone());
            Ok((match deleted {
                Ok(()) => {
                    shrink(view, &fields, name, None);
                    Ok(())
                }
                Err(error) => Err(p3::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(SET, move |mut store: StoreContextMut<'_, StoreData>, (fields, name, values): Set| {
            let view = &mut get(store.data_mut());
            let set = p3::HostFields::set(view, borrow(&fields), name.clone(), values.clone());
            Ok((match set {
                Ok(()) => {
                    shrink(view, &fields, name, Some(values));
                    Ok(())
                }
                Err(error) => Err(p3::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(GET_AND_DELETE, move |mut store: StoreContextMut<'_, StoreData>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p3::HostFields::get_and_delete(view, borrow(&fields), name.clone());
            Ok((match deleted {
                Ok(values) => {
                    shrink(view, &fields, name, None);
                    Ok(values)
                }
                Err(error) => Err(p3::Host::convert_header_error(view, error)?),
            },))
        })
    })
}
