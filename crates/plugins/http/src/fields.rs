//! Header fields that a component empties: the engine's map keeps room for all that was ever in it, which is not seen from
//! outside. What is left is moved to a map of its own size.

use wasmtime::StoreContextMut;
use wasmtime::component::Resource;
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p3::bindings::http::types as p3;
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView};
use wharf::ctx::Getter;
use wharf::{Ctx, Link};

use crate::outbound::Http;

const SET: &str = "[method]fields.set";
const DELETE: &str = "[method]fields.delete";
const GET_AND_DELETE: &str = "[method]fields.get-and-delete";

type Delete = (Resource<FieldMap>, String);
type Set = (Resource<FieldMap>, String, Vec<Vec<u8>>);

fn same(fields: &Resource<FieldMap>) -> Resource<FieldMap> {
    Resource::new_borrow(fields.rep())
}

/// Changes fields in a way that changes nothing, while there is a copy of them: the map is cloned for that, and the clone has
/// room for what is in it.
fn shrink(view: &mut WasiHttpCtxView<'_>, fields: &Resource<FieldMap>, name: String, values: Option<Vec<Vec<u8>>>) {
    let Ok(fields) = view.table.get_mut(fields) else { return };
    let _copy = fields.clone();
    // It went well before, and does so again.
    match values {
        Some(values) => _ = fields.set(view.hooks, name, values).ok(),
        None => _ = fields.remove_all(view.hooks, name).ok(),
    }
}

pub(crate) fn link_p2(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    link.again(|instance| {
        instance.func_wrap(DELETE, move |mut store: StoreContextMut<'_, Ctx>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p2::HostFields::delete(view, same(&fields), name.clone());
            Ok((match deleted {
                Ok(()) => {
                    shrink(view, &fields, name, None);
                    Ok(())
                }
                Err(error) => Err(p2::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(SET, move |mut store: StoreContextMut<'_, Ctx>, (fields, name, values): Set| {
            let view = &mut get(store.data_mut());
            let set = p2::HostFields::set(view, same(&fields), name.clone(), values.clone());
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

pub(crate) fn link_p3(link: &mut Link<'_>, get: Getter<Http>) -> wasmtime::Result<()> {
    link.again(|instance| {
        instance.func_wrap(DELETE, move |mut store: StoreContextMut<'_, Ctx>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p3::HostFields::delete(view, same(&fields), name.clone());
            Ok((match deleted {
                Ok(()) => {
                    shrink(view, &fields, name, None);
                    Ok(())
                }
                Err(error) => Err(p3::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(SET, move |mut store: StoreContextMut<'_, Ctx>, (fields, name, values): Set| {
            let view = &mut get(store.data_mut());
            let set = p3::HostFields::set(view, same(&fields), name.clone(), values.clone());
            Ok((match set {
                Ok(()) => {
                    shrink(view, &fields, name, Some(values));
                    Ok(())
                }
                Err(error) => Err(p3::Host::convert_header_error(view, error)?),
            },))
        })?;
        instance.func_wrap(GET_AND_DELETE, move |mut store: StoreContextMut<'_, Ctx>, (fields, name): Delete| {
            let view = &mut get(store.data_mut());
            let deleted = p3::HostFields::get_and_delete(view, same(&fields), name.clone());
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
