//! The module `knockd_client` for Python. Its documentation for programmers is `knockd_client.pyi`.

use std::{net::IpAddr, time::Duration};

use knock_client::{Description, MakeError, message};
use pyo3::{
    create_exception,
    exceptions::{PyException, PyUserWarning, PyValueError},
    prelude::*,
    pybacked::PyBackedStr,
};

create_exception!(
    knockd_client,
    KnockError,
    PyException,
    "The knock was not made or not sent."
);

/// The longest timeout.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// A client that is ready to knock on one door of one server.
#[pyclass(frozen, module = "knockd_client")]
#[derive(Debug)]
struct Knocker(knock_client::Knocker);

#[pymethods]
impl Knocker {
    #[new]
    #[pyo3(signature = (
        door,
        *,
        invitation = None,
        key = None,
        server = None,
        server_key = None,
        base = None,
        udp_port = None,
        source_ip = None,
        lease = 0,
    ))]
    #[expect(
        clippy::too_many_arguments,
        clippy::needless_pass_by_value,
        reason = "they are arguments of Python, most of which have a default"
    )]
    fn new(
        door: PyBackedStr,
        invitation: Option<PyBackedStr>,
        key: Option<PyBackedStr>,
        server: Option<PyBackedStr>,
        server_key: Option<PyBackedStr>,
        base: Option<u16>,
        udp_port: Option<u16>,
        source_ip: Option<PyBackedStr>,
        lease: u32,
    ) -> PyResult<Self> {
        let description = Description {
            invitation: invitation.as_deref(),
            key: key.as_deref(),
            server: server.as_deref(),
            server_key: server_key.as_deref(),
            base,
            udp_port,
            door: &door,
            source_ip: source_ip.as_deref(),
            lease,
        };
        let knocker = description.knocker();
        knocker
            .map(Self)
            .map_err(|error| PyValueError::new_err(message::of(&error)))
    }

    #[pyo3(signature = (transport = "syn".to_owned(), timeout = 10.0))]
    #[expect(clippy::needless_pass_by_value, reason = "an argument of Python")]
    fn knock(&self, py: Python<'_>, transport: String, timeout: f64) -> PyResult<Vec<String>> {
        let transport = transport
            .parse()
            .map_err(|error| PyValueError::new_err(format!("transport: {error}")))?;
        let timeout = Duration::try_from_secs_f64(timeout)
            .ok()
            .filter(|timeout| *timeout <= MAX_TIMEOUT)
            .ok_or_else(|| PyValueError::new_err("timeout: expected 0 to 3600 seconds"))?;
        let knocked = py
            .detach(|| self.0.knock(transport, timeout))
            .map_err(|error| KnockError::new_err(message::of(&error)))?;
        for note in knocked.notes {
            let note = std::ffi::CString::new(note)?;
            PyErr::warn(py, &py.get_type::<PyUserWarning>(), &note, 1)?;
        }
        Ok(knocked.addresses.iter().map(IpAddr::to_string).collect())
    }

    fn ports(&self) -> PyResult<[u16; 16]> {
        self.0.ports().map_err(not_made)
    }

    fn datagram(&self) -> PyResult<std::borrow::Cow<'static, [u8]>> {
        let datagram = self.0.datagram().map_err(not_made)?;
        Ok(datagram.to_vec().into())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
fn not_made(error: MakeError) -> PyErr {
    KnockError::new_err(message::of(&error))
}

/// Knocks on servers that run knockd.
#[pymodule]
fn knockd_client(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Knocker>()?;
    module.add("KnockError", module.py().get_type::<KnockError>())
}
