// What a component can reach through WASI 0.3, asked in text. Included by the guests that answer.

async fn ask(question: &str) -> String {
    let (what, rest) = question.split_once(' ').unwrap_or((question, ""));
    match what {
        "env" => {
            let all = wasip3::cli::environment::get_environment();
            let found = all.iter().find(|(name, _)| name == rest);
            found.map_or_else(|| format!("none of {}", all.len()), |(_, value)| value.clone())
        }
        "args" => wasip3::cli::environment::get_arguments().join(" "),
        "read" => read(rest).await.unwrap_or_else(|error| error),
        "write" => {
            let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
            write(path, text).await.map_or_else(|error| error, |()| "written".into())
        }
        "lookup" => {
            let found = wasip3::sockets::ip_name_lookup::resolve_addresses(rest.to_owned()).await;
            match found {
                Ok(found) => found.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(" "),
                Err(error) => format!("{error:?}"),
            }
        }
        "connect" => connect(rest).await.map_or_else(|error| error, |()| "connected".into()),
        "http" => http(rest).await.unwrap_or_else(|error| error),
        "print" => {
            let (mut out, contents) = wasip3::wit_stream::new();
            let done = wasip3::cli::stdout::write_via_stream(contents);
            out.write_all(format!("{rest}\n").into_bytes()).await;
            drop(out);
            done.await.unwrap();
            "printed".into()
        }
        other => format!("no such question: {other}"),
    }
}

use wasip3::filesystem::types::{Descriptor, DescriptorFlags, OpenFlags, PathFlags};

/// The volume that a path is in, and the rest of the path.
fn volume(path: &str) -> Result<(Descriptor, String), String> {
    let volumes = wasip3::filesystem::preopens::get_directories();
    let count = volumes.len();
    for (descriptor, at) in volumes {
        if let Some(rest) = path.strip_prefix(&format!("{at}/")) {
            return Ok((descriptor, rest.to_owned()));
        }
    }
    Err(format!("no volume of {count}"))
}

async fn read(path: &str) -> Result<String, String> {
    let (volume, path) = volume(path)?;
    let file = volume.open_at(PathFlags::empty(), path, OpenFlags::empty(), DescriptorFlags::READ).await;
    let (contents, done) = file.map_err(|error| format!("{error:?}"))?.read_via_stream(0);
    let bytes = contents.collect().await;
    done.await.map_err(|error| format!("{error:?}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn write(path: &str, text: &str) -> Result<(), String> {
    let (volume, path) = volume(path)?;
    let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let file = volume.open_at(PathFlags::empty(), path, OpenFlags::CREATE | OpenFlags::TRUNCATE, flags).await;
    let file = file.map_err(|error| format!("{error:?}"))?;
    let (mut to, contents) = wasip3::wit_stream::new();
    let done = file.write_via_stream(contents, 0);
    to.write_all(text.as_bytes().to_vec()).await;
    drop(to);
    done.await.map_err(|error| format!("{error:?}"))
}

async fn connect(address: &str) -> Result<(), String> {
    use std::net::{IpAddr, SocketAddr};
    use wasip3::sockets::types::{
        IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
    };
    let address: SocketAddr = address.parse().map_err(|error| format!("{error}"))?;
    let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
    let socket = TcpSocket::create(family).map_err(|error| format!("{error:?}"))?;
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
    socket.connect(remote).await.map_err(|error| format!("{error:?}"))
}

async fn http(url: &str) -> Result<String, String> {
    use wasip3::http::client;
    use wasip3::http::types::{Fields, Request, Scheme};
    use wasip3::wit_future;
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (trailers, trailing) = wit_future::new(|| Ok(None));
    drop(trailers);
    let (request, _) = Request::new(Fields::new(), None, trailing, None);
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(&format!("/{path}"))).map_err(|()| "path")?;
    let response = client::send(request).await.map_err(|error| format!("{error:?}"))?;
    Ok(format!("{}", response.get_status_code()))
}
