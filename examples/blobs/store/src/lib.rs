//! A blob store in a folder: `wasi:blobstore` on `wasi:filesystem`. A container is a folder of the volume, and an object a file in it.
//! Bodies are the file system's own streams, so that memory stays flat.

use std::cell::RefCell;

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

wit_bindgen::generate!({
    path: "../wit",
    world: "store",
    with: { "wasi:io/streams@0.2.12": wasip2::io::streams },
    generate_all,
});

use exports::wasi::blobstore::{blobstore, container, types};
use types::{ContainerMetadata, ObjectId, ObjectMetadata};

struct Store;

export!(Store);

type Result<T> = std::result::Result<T, String>;

fn text(error: ErrorCode) -> String {
    format!("{error:?}")
}

/// The volume.
fn root() -> Result<Descriptor> {
    get_directories().into_iter().next().map(|(folder, _)| folder).ok_or_else(|| "no volume".to_owned())
}

/// The name of a file for any name of an object: whatever a path could give a meaning to is written as a number.
fn file_name(name: &str) -> Result<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let part = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("={byte:02x}") };
    let encoded: String = name.bytes().map(part).collect();
    if (1..=250).contains(&encoded.len()) { Ok(encoded) } else { Err("the name is empty or too long".to_owned()) }
}

fn object_name(file: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = file.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'=' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

fn folder(container: &str) -> Result<Descriptor> {
    let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
    root()?.open_at(PathFlags::empty(), &file_name(container)?, OpenFlags::DIRECTORY, flags).map_err(text)
}

fn seconds(file: &Descriptor) -> Result<(u64, u64)> {
    let stat = file.stat().map_err(text)?;
    Ok((stat.data_modification_timestamp.map_or(0, |time| time.seconds), stat.size))
}

/// The files of a folder, without those that are still written.
fn files(folder: &Descriptor) -> Result<Vec<String>> {
    let entries = folder.read_directory().map_err(text)?;
    let mut files = Vec::new();
    while let Some(entry) = entries.read_directory_entry().map_err(text)? {
        if !entry.name.starts_with('.') {
            files.push(entry.name);
        }
    }
    Ok(files)
}

/// An open container.
struct Container(String);

/// The names of a container's objects that were not read.
struct Names(RefCell<Vec<String>>);

/// A value on its way in: a file beside the containers, which is renamed to its object in the end.
struct Outgoing {
    file: Descriptor,
    draft: String,
    /// The container and the object that it will be.
    target: RefCell<Option<(String, String)>>,
}

/// A range of an object.
struct Incoming {
    file: Descriptor,
    start: u64,
    end: u64,
    size: u64,
}

impl types::Guest for Store {
    type OutgoingValue = Outgoing;
    type IncomingValue = Incoming;
}

impl types::GuestOutgoingValue for Outgoing {
    fn new_outgoing_value() -> types::OutgoingValue {
        let draft = format!(".{:016x}", wasip2::random::random::get_random_u64());
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        // The interface has no error here. A store without its volume has nothing to do.
        let file = root().expect("the component has a volume");
        let file = file.open_at(PathFlags::empty(), &draft, OpenFlags::CREATE | OpenFlags::EXCLUSIVE, flags);
        let file = file.expect("the volume is writable");
        types::OutgoingValue::new(Self { file, draft, target: RefCell::default() })
    }

    fn outgoing_value_write_body(&self) -> std::result::Result<OutputStream, ()> {
        self.file.write_via_stream(0).map_err(|_| ())
    }

    fn finish(this: types::OutgoingValue) -> Result<()> {
        let this: &Self = this.get();
        let (container, object) = this.target.take().ok_or("`write-data` was not called")?;
        this.file.sync_data().map_err(text)?;
        root()?.rename_at(&this.draft, &folder(&container)?, &file_name(&object)?).map_err(text)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // There is none once it was renamed.
        root().and_then(|root| root.unlink_file_at(&self.draft).map_err(text)).ok();
    }
}

impl types::GuestIncomingValue for Incoming {
    fn incoming_value_consume_sync(this: types::IncomingValue) -> Result<Vec<u8>> {
        let this: &Self = this.get();
        let mut bytes = Vec::new();
        while this.start + (bytes.len() as u64) < this.end {
            let at = this.start + bytes.len() as u64;
            let (piece, ended) = this.file.read(this.end - at, at).map_err(text)?;
            bytes.extend(piece);
            if ended {
                break;
            }
        }
        Ok(bytes)
    }

    fn incoming_value_consume_async(this: types::IncomingValue) -> Result<InputStream> {
        let this: &Self = this.get();
        if this.end < this.size {
            return Err("a range is read at once, not as a stream".to_owned());
        }
        this.file.read_via_stream(this.start).map_err(text)
    }

    fn size(&self) -> u64 {
        self.end - self.start
    }
}

impl container::Guest for Store {
    type Container = Container;
    type StreamObjectNames = Names;
}

impl container::GuestContainer for Container {
    fn name(&self) -> Result<String> {
        Ok(self.0.clone())
    }

    fn info(&self) -> Result<ContainerMetadata> {
        Ok(ContainerMetadata { name: self.0.clone(), created_at: seconds(&folder(&self.0)?)?.0 })
    }

    fn get_data(&self, name: String, start: u64, end: u64) -> Result<types::IncomingValue> {
        let file = open(&self.0, &name)?;
        let (_, size) = seconds(&file)?;
        let (start, end) = (start.min(size), end.saturating_add(1).min(size));
        Ok(types::IncomingValue::new(Incoming { file, start, end: end.max(start), size }))
    }

    fn write_data(&self, name: String, data: types::OutgoingValueBorrow<'_>) -> Result<()> {
        file_name(&name)?;
        *data.get::<Outgoing>().target.borrow_mut() = Some((self.0.clone(), name));
        Ok(())
    }

    fn list_objects(&self) -> Result<container::StreamObjectNames> {
        let names = files(&folder(&self.0)?)?.iter().filter_map(|file| object_name(file)).collect();
        Ok(container::StreamObjectNames::new(Names(RefCell::new(names))))
    }

    fn delete_object(&self, name: String) -> Result<()> {
        match folder(&self.0)?.unlink_file_at(&file_name(&name)?) {
            Ok(()) | Err(ErrorCode::NoEntry) => Ok(()),
            Err(error) => Err(text(error)),
        }
    }

    fn delete_objects(&self, names: Vec<String>) -> Result<()> {
        names.into_iter().try_for_each(|name| self.delete_object(name))
    }

    fn has_object(&self, name: String) -> Result<bool> {
        Ok(open(&self.0, &name).is_ok())
    }

    fn object_info(&self, name: String) -> Result<ObjectMetadata> {
        let (created_at, size) = seconds(&open(&self.0, &name)?)?;
        Ok(ObjectMetadata { name, container: self.0.clone(), created_at, size })
    }

    fn clear(&self) -> Result<()> {
        let folder = folder(&self.0)?;
        files(&folder)?.iter().try_for_each(|file| folder.unlink_file_at(file).map_err(text))
    }
}

fn open(container: &str, name: &str) -> Result<Descriptor> {
    let name = file_name(name)?;
    folder(container)?.open_at(PathFlags::empty(), &name, OpenFlags::empty(), DescriptorFlags::READ).map_err(text)
}

impl container::GuestStreamObjectNames for Names {
    fn read_stream_object_names(&self, len: u64) -> Result<(Vec<String>, bool)> {
        let mut names = self.0.borrow_mut();
        let count = names.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        Ok((names.drain(..count).collect(), names.is_empty()))
    }

    fn skip_stream_object_names(&self, num: u64) -> Result<(u64, bool)> {
        let (skipped, ended) = self.read_stream_object_names(num)?;
        Ok((skipped.len() as u64, ended))
    }
}

impl blobstore::Guest for Store {
    fn create_container(name: String) -> Result<container::Container> {
        root()?.create_directory_at(&file_name(&name)?).map_err(text)?;
        Ok(container::Container::new(Container(name)))
    }

    fn get_container(name: String) -> Result<container::Container> {
        folder(&name)?;
        Ok(container::Container::new(Container(name)))
    }

    fn delete_container(name: String) -> Result<()> {
        container::GuestContainer::clear(&Container(name.clone()))?;
        root()?.remove_directory_at(&file_name(&name)?).map_err(text)
    }

    fn container_exists(name: String) -> Result<bool> {
        Ok(folder(&name).is_ok())
    }

    fn copy_object(src: ObjectId, dest: ObjectId) -> Result<()> {
        let from = open(&src.container, &src.object)?.read_via_stream(0).map_err(text)?;
        let draft = <Outgoing as types::GuestOutgoingValue>::new_outgoing_value();
        let value: &Outgoing = draft.get();
        let to = value.file.write_via_stream(0).map_err(text)?;
        loop {
            match to.blocking_splice(&from, 64 * 1024) {
                Ok(_) => {}
                Err(StreamError::Closed) => break,
                Err(error) => return Err(format!("{error:?}")),
            }
        }
        to.blocking_flush().map_err(|error| format!("{error:?}"))?;
        drop(to);
        value.target.replace(Some((dest.container, dest.object)));
        <Outgoing as types::GuestOutgoingValue>::finish(draft)
    }

    fn move_object(src: ObjectId, dest: ObjectId) -> Result<()> {
        let (from, to) = (folder(&src.container)?, folder(&dest.container)?);
        from.rename_at(&file_name(&src.object)?, &to, &file_name(&dest.object)?).map_err(text)
    }
}
