//! Whose data this is: the small file that is written first and replaced at every open.
//!
//! One sector: magic, format version, cluster, node, incarnation, boot. The boot counter rises
//! with every open, so that sequences handed out before a restart are never taken for new ones.
//! Boot 0 means that the directory was being created: nothing was ever promised from it, and
//! creation begins again.

use std::io::ErrorKind;
use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};

use super::sector::{self, Condition, SECTOR_BYTES, Sector};
use super::{FORMAT_VERSION, at, damaged, io_at, newer};
use crate::codec::{Malformed, Reader};
use crate::error::Result;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::vfs::{OpenMode, Vfs};

pub(super) const IDENTITY_FILE: &str = "identity";
const IDENTITY_TMP: &str = "identity.tmp";
const MAGIC: &[u8; 8] = b"QUORID\r\n";

/// Whose a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    /// Made when the directory was created.
    pub(crate) incarnation: Incarnation,
    /// How many times it was opened, this time included.
    pub(crate) boot: u64,
}

/// Reads the identity; `None` if there is no such file.
pub(super) fn read(vfs: &dyn Vfs, data_dir: &Path) -> Result<Option<Identity>> {
    let path = data_dir.join(IDENTITY_FILE);
    let file = match vfs.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_at("open", &path, error)),
    };
    let mut bytes = [0; SECTOR_BYTES];
    let read = file.read_at(0, &mut bytes).map_err(at("read", &path))?;
    if read != SECTOR_BYTES {
        return Err(damaged(&path, read as u64, "it is cut short"));
    }
    if sector::condition(&bytes, 0) != Condition::Fresh {
        return Err(damaged(&path, 0, "the checksum is wrong"));
    }
    let (version, identity) = decode(&bytes).map_err(|error| damaged(&path, 0, error))?;
    match identity {
        Some(identity) => Ok(Some(identity)),
        None => Err(newer(&path, version)),
    }
}

/// Replaces the identity, durably and at once: the old one stands until the rename.
pub(super) fn write(vfs: &dyn Vfs, data_dir: &Path, identity: &Identity) -> Result<()> {
    let (path, tmp) = (data_dir.join(IDENTITY_FILE), data_dir.join(IDENTITY_TMP));
    let file = vfs.open(&tmp, OpenMode::Create).map_err(at("create", &tmp))?;
    file.write_at(0, &encode(identity)).map_err(at("write", &tmp))?;
    file.sync().map_err(at("sync", &tmp))?;
    vfs.rename(&tmp, &path).map_err(at("rename", &tmp))?;
    vfs.sync_dir(data_dir).map_err(at("sync", data_dir))
}

fn encode(identity: &Identity) -> Sector {
    let mut out = BytesMut::new();
    out.put_slice(MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u32_le(0);
    out.put_u64_le(identity.cluster.get());
    out.put_u64_le(identity.node.get());
    out.put_u64_le(identity.incarnation.get());
    out.put_u64_le(identity.boot);
    sector::seal(&out, 0)
}

/// The format version, and what it says if this version of the library knows it.
fn decode(bytes: &Sector) -> Result<(u32, Option<Identity>), Malformed> {
    let mut reader = Reader::new(Bytes::copy_from_slice(sector::content(bytes)));
    if reader.take(MAGIC.len(), "magic")? != MAGIC.as_slice() {
        return Err(Malformed { what: "magic" });
    }
    let version = reader.u32("format version")?;
    reader.u32("reserved")?;
    if version > FORMAT_VERSION {
        return Ok((version, None));
    }
    if version == 0 {
        return Err(Malformed { what: "format version" });
    }
    let identity = Identity {
        cluster: ClusterId::new(reader.u64("cluster")?),
        node: NodeId::new(reader.u64("node")?),
        incarnation: Incarnation::new(reader.u64("incarnation")?),
        boot: reader.u64("boot")?,
    };
    Ok((version, Some(identity)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decodes_what_it_encodes(cluster: u64, node: u64, incarnation: u64, boot: u64) {
            let identity = Identity {
                cluster: ClusterId::new(cluster),
                node: NodeId::new(node),
                incarnation: Incarnation::new(incarnation),
                boot,
            };
            prop_assert_eq!(decode(&encode(&identity)), Ok((FORMAT_VERSION, Some(identity))));
        }

        #[test]
        fn survives_any_bytes(bytes in prop::collection::vec(any::<u8>(), SECTOR_BYTES)) {
            let _ = decode(bytes.first_chunk().unwrap());
        }
    }
}
