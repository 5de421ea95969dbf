//! From a line to a message.

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};

use super::code::ErrorCode;
use super::limits::MAX_FRAME;
use super::reply::Reply;
use super::request::Request;

/// A message with the `id` that its line carries. Lines that are about an exec or a file under
/// way (`exec_output`, `exec_stdin`, `exec_stdin_taken`, `exec_signal`, `exec_cancel`,
/// `fs_data`, `transfer_data`) have that one's id as a field of their own and none here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed<M> {
    /// Of the request; with `request_id`.
    pub id: Option<u64>,
    /// The message.
    pub body: M,
}

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// `parse`, `empty`, `unknown_op` or `bad_request`.
    pub code: ErrorCode,
    /// What is wrong with it.
    pub message: String,
    /// The `id` of the line, where that can be made out.
    pub id: Option<u64>,
    /// Whether raw bytes may follow that are not to be taken for a line: the connection is of
    /// no use any more.
    pub is_fatal: bool,
}

/// The request that a line holds. A field that is not known is left out of account; one of
/// another type than it should be is a fault.
///
/// # Errors
/// [`Fault`] with what is to be answered.
pub fn decode_request(line: &[u8]) -> Result<Addressed<Request>, Fault> {
    let head = head(line)?;
    let id = |own: bool| if own { None } else { head.id };
    let (is_own, body) = match head.op.as_str() {
        "handshake" => (false, Request::Handshake(body(line, &head)?)),
        "session_start" => (false, Request::SessionStart(body(line, &head)?)),
        "sync_request" => (false, Request::SyncRequest(body(line, &head)?)),
        "exec" => (false, Request::Exec(body(line, &head)?)),
        "guest_fs" => (false, Request::GuestFs(body(line, &head)?)),
        "session_shutdown" => (false, Request::SessionShutdown(body(line, &head)?)),
        "exec_signal" => (true, Request::ExecSignal(body(line, &head)?)),
        "exec_cancel" => (true, Request::ExecCancel(body(line, &head)?)),
        "exec_stdin" => (true, Request::ExecStdin(framed(line, &head)?)),
        "fs_data" => (true, Request::FsData(framed(line, &head)?)),
        "transfer" => (false, Request::Transfer(body(line, &head)?)),
        "transfer_data" => (true, Request::TransferData(framed(line, &head)?)),
        "ping" => (true, Request::Ping),
        _ => return Err(unknown(&head)),
    };
    check_frame(body.frame(), &head)?;
    Ok(Addressed { id: id(is_own), body })
}

/// The reply that a line holds, as [`decode_request`].
///
/// # Errors
/// [`Fault`]: the peer does not speak this protocol.
pub fn decode_reply(line: &[u8]) -> Result<Addressed<Reply>, Fault> {
    let head = head(line)?;
    let id = |own: bool| if own { None } else { head.id };
    let (is_own, body) = match head.op.as_str() {
        "handshake_ok" => (false, Reply::HandshakeOk(body(line, &head)?)),
        "session_ok" => (false, Reply::SessionOk(body(line, &head)?)),
        "sync_ok" => (false, Reply::SyncOk(body(line, &head)?)),
        "exec_result" => (false, Reply::ExecResult(body(line, &head)?)),
        "guest_fs_ok" => (false, Reply::GuestFsOk(body(line, &head)?)),
        "guest_fs_error" => (false, Reply::GuestFsError(body(line, &head)?)),
        "shutdown_ok" => (false, Reply::ShutdownOk(body(line, &head)?)),
        "error" => (false, Reply::Error(body(line, &head)?)),
        "exec_output" => (true, Reply::ExecOutput(framed(line, &head)?)),
        "exec_stdin_taken" => (true, Reply::ExecStdinTaken(body(line, &head)?)),
        "fs_data" => (true, Reply::FsData(framed(line, &head)?)),
        "transfer_ok" => (false, Reply::TransferOk(body(line, &head)?)),
        "transfer_data" => (true, Reply::TransferData(framed(line, &head)?)),
        "ping" => (true, Reply::Ping),
        _ => return Err(unknown(&head)),
    };
    check_frame(body.frame(), &head)?;
    Ok(Addressed { id: id(is_own), body })
}

/// What every line has.
struct Head {
    op: String,
    id: Option<u64>,
}

fn fault(code: ErrorCode, message: impl Into<String>, id: Option<u64>) -> Fault {
    Fault {
        code,
        message: message.into(),
        id,
        is_fatal: false,
    }
}

fn head(line: &[u8]) -> Result<Head, Fault> {
    if line.trim_ascii().is_empty() {
        return Err(fault(ErrorCode::Empty, "the line is empty", None));
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(fault(ErrorCode::Parse, "the line is not UTF-8", None));
    };
    let fields: Fields = serde_json::from_str(text).map_err(|error| {
        // A number, a string or a list is JSON, and no request; half a list is neither.
        let is_json = error.is_data() && serde_json::from_str::<IgnoredAny>(text).is_ok();
        let code = if is_json {
            ErrorCode::BadRequest
        } else {
            ErrorCode::Parse
        };
        fault(code, place_less(&error), None)
    })?;
    let id = match &fields.id {
        None | Some(serde_json::Value::Null) => None,
        Some(value) => match value.as_u64() {
            Some(id) => Some(id),
            None => return Err(fault(ErrorCode::BadRequest, "`id` is no whole number", None)),
        },
    };
    match fields.op {
        Some(serde_json::Value::String(op)) => Ok(Head { op, id }),
        Some(_) => Err(fault(ErrorCode::BadRequest, "`op` is no string", id)),
        None => Err(fault(ErrorCode::BadRequest, "the field `op` is missing", id)),
    }
}

/// Op and id of an object; the rest is only looked at for being JSON.
#[derive(Default)]
struct Fields {
    op: Option<serde_json::Value>,
    id: Option<serde_json::Value>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    let field = match name.as_ref() {
                        "op" => &mut fields.op,
                        "id" => &mut fields.id,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if field.is_some() {
                        return Err(serde::de::Error::custom(format!("the field `{name}` is there twice")));
                    }
                    *field = Some(map.next_value()?);
                }
                Ok(fields)
            }
        }
        from.deserialize_map(Object)
    }
}

fn body<T: DeserializeOwned>(line: &[u8], head: &Head) -> Result<T, Fault> {
    serde_json::from_slice(line).map_err(|error| fault(ErrorCode::BadRequest, place_less(&error), head.id))
}

/// As [`body`], where raw bytes follow: nobody knows how many when the line is wrong.
fn framed<T: DeserializeOwned>(line: &[u8], head: &Head) -> Result<T, Fault> {
    body(line, head).map_err(|fault| Fault {
        is_fatal: true,
        ..fault
    })
}

fn check_frame(length: usize, head: &Head) -> Result<(), Fault> {
    if length <= MAX_FRAME {
        return Ok(());
    }
    Err(Fault {
        is_fatal: true,
        ..fault(
            ErrorCode::BadRequest,
            format!("`len` is {length}; at most {MAX_FRAME} bytes may follow a line"),
            head.id,
        )
    })
}

fn unknown(head: &Head) -> Fault {
    let mut shown: String = head.op.chars().take(40).collect();
    if shown.len() < head.op.len() {
        shown.push('…');
    }
    fault(ErrorCode::UnknownOp, format!("there is no op `{shown}`"), head.id)
}

/// A line is one line: its number says nothing.
fn place_less(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((what, column)) => format!("{what} (column {column})"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
