// What a component can reach through WASI 0.2, asked in text. Included by the guests that answer.

mod grants {
    wit_bindgen::generate!({ path: "../../wit/grants.wit", world: "wharf:grants/grants", generate_all });
}

fn ask(question: &str) -> String {
    let (what, rest) = question.split_once(' ').unwrap_or((question, ""));
    match what {
        "env" => {
            let all = wasip2::cli::environment::get_environment();
            let found = all.iter().find(|(name, _)| name == rest);
            found.map_or_else(|| format!("none of {}", all.len()), |(_, value)| value.clone())
        }
        "args" => wasip2::cli::environment::get_arguments().join(" "),
        "config" => format!("{:?}", grants::wasi::config::store::get(rest)),
        "read" => read(rest).unwrap_or_else(|error| error),
        "write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            write(path, text).map_or_else(|error| error, |()| "written".into())
        }
        "lookup" => lookup(rest).map_or_else(|error| error, |found| found.join(" ")),
        "connect" => connect(rest).map_or_else(|error| error, |()| "connected".into()),
        "http" => http(rest).unwrap_or_else(|error| error),
        "print" => {
            let out = wasip2::cli::stdout::get_stdout();
            out.blocking_write_and_flush(format!("{rest}\n").as_bytes()).unwrap();
            "printed".into()
        }
        "log" => {
            use grants::wasi::logging::logging::{Level, log};
            log(Level::Warn, "asked", rest);
            "logged".into()
        }
        other => format!("no such question: {other}"),
    }
}

use wasip2::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// The volume that a path is in, and the rest of the path.
fn volume(path: &str) -> Result<(Descriptor, String), String> {
    let volumes = wasip2::filesystem::preopens::get_directories();
    let count = volumes.len();
    for (descriptor, at) in volumes {
        if let Some(rest) = path.strip_prefix(&format!("{at}/")) {
            return Ok((descriptor, rest.to_owned()));
        }
    }
    Err(format!("no volume of {count}"))
}

fn read(path: &str) -> Result<String, String> {
    let (volume, path) = volume(path)?;
    let file = volume
        .open_at(PathFlags::empty(), &path, OpenFlags::empty(), DescriptorFlags::READ)
        .map_err(|error| format!("{error:?}"))?;
    let (bytes, _) = file.read(1 << 16, 0).map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let (volume, path) = volume(path)?;
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let file = volume
        .open_at(PathFlags::empty(), &path, OpenFlags::CREATE | OpenFlags::TRUNCATE, flags)
        .map_err(|error| format!("{error:?}"))?;
    file.write(text.as_bytes(), 0).map(|_| ()).map_err(|error| format!("{error:?}"))
}

fn lookup(name: &str) -> Result<Vec<String>, String> {
    use wasip2::sockets::{instance_network, ip_name_lookup, network::ErrorCode};
    let network = instance_network::instance_network();
    let stream = ip_name_lookup::resolve_addresses(&network, name).map_err(|error| format!("{error:?}"))?;
    let mut found = Vec::new();
    loop {
        match stream.resolve_next_address() {
            Ok(Some(address)) => found.push(format!("{address:?}")),
            Ok(None) => return Ok(found),
            Err(ErrorCode::WouldBlock) => stream.subscribe().block(),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn connect(address: &str) -> Result<(), String> {
    use std::net::{IpAddr, SocketAddr};
    use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress};
    use wasip2::sockets::{instance_network, tcp_create_socket};
    let address: SocketAddr = address.parse().map_err(|error| format!("{error}"))?;
    let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let socket = tcp_create_socket::create_tcp_socket(family).map_err(|error| format!("{error:?}"))?;
    let port = address.port();
    let remote = match address.ip() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) })
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h] = ip.segments();
            let address = (a, b, c, d, e, f, g, h);
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    };
    let network = instance_network::instance_network();
    socket.start_connect(&network, remote).map_err(|error| format!("{error:?}"))?;
    loop {
        match socket.finish_connect() {
            Ok(_) => return Ok(()),
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn http(url: &str) -> Result<String, String> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| "path")?;
    let response = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => Ok(format!("{}", response.status())),
        Some(Ok(Err(error))) => Err(format!("{error:?}")),
        _ => Err("no response".into()),
    }
}
