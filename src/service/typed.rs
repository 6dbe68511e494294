//! Values as Rust types: a thin layer that encodes on the way in and decodes on the way out.
//!
//! It adds no call of its own. A put is the plain one with the encoded value, a read wraps the
//! plain one and decodes what it gives back; the options are those of the plain call.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::kv::{Delete, Put};
use super::read::{Get, RangeRead};
use super::response::{GetResponse, Header, RangeResponse};
use super::watch::Watch;
use crate::core::mvcc::KeyValue;
use crate::error::{Error, Kind, Result};
use crate::keys::KeyRange;
use crate::store::Store;

/// What a codec fails with.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// How values of `T` are bytes.
///
/// Without state: the same bytes mean the same value on every member, in every version of the
/// program that is to read them.
///
/// ```
/// use quorate::{Codec, CodecError};
///
/// /// A number in eight bytes.
/// struct BigEndian;
///
/// impl Codec<u64> for BigEndian {
///     fn encode(value: &u64) -> Result<Vec<u8>, CodecError> {
///         Ok(value.to_be_bytes().to_vec())
///     }
///
///     fn decode(bytes: &[u8]) -> Result<u64, CodecError> {
///         Ok(u64::from_be_bytes(bytes.try_into()?))
///     }
/// }
///
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let counters = store.typed_with::<u64, BigEndian>();
/// counters.put("visits", &1).await?;
/// # Ok(())
/// # }
/// ```
pub trait Codec<T> {
    /// The bytes of a value.
    ///
    /// # Errors
    ///
    /// If there are none for it; the put then fails with [`is_invalid`](crate::Error::is_invalid).
    fn encode(value: &T) -> Result<Vec<u8>, CodecError>;

    /// The value of some bytes, whoever wrote them.
    ///
    /// # Errors
    ///
    /// If they are no value; the read then fails with
    /// [`is_undecodable`](crate::Error::is_undecodable).
    fn decode(bytes: &[u8]) -> Result<T, CodecError>;
}

/// Values as JSON: readable for people and for other programs.
#[derive(Clone, Copy, Debug)]
pub enum Json {}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn encode(value: &T) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(bytes: &[u8]) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// A handle whose values are of type `T`: made by [`Store::typed`](crate::Store::typed).
///
/// Writes are the plain calls, [`Put`] and [`Delete`], with all their options and what they give
/// back. Reads decode: see [`TypedGet`] and [`TypedRangeRead`]. What else gives back a
/// [`KeyValue`], a stream, an event or a previous value, is decoded with [`decode`](Self::decode).
///
/// It reaches the keys that its store reaches: of a [scoped](crate::Store::scoped) one, those
/// behind the prefix.
///
/// ```no_run
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Job {
///     command: String,
///     tries: u32,
/// }
///
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let jobs = store.scoped("jobs/").typed::<Job>();
/// jobs.put("7", &Job { command: "sweep the yard".into(), tries: 0 }).await?;
///
/// if let Some(job) = jobs.get("7").await? {
///     println!("{} since revision {}", job.value.command, job.kv.create_revision());
/// }
/// # Ok(())
/// # }
/// ```
pub struct TypedStore<T, C = Json> {
    store: Store,
    codec: PhantomData<fn() -> (T, C)>,
}

/// A key whose value is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Typed<T> {
    /// The value.
    pub value: T,
    /// The key, its revisions and its lease; and the value as it is stored.
    pub kv: KeyValue,
}

/// What a [`TypedRangeRead`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypedRangeResponse<T> {
    /// As in a [`RangeResponse`].
    pub header: Header,
    /// As in a [`RangeResponse`], decoded.
    pub kvs: Vec<Typed<T>>,
    /// As in a [`RangeResponse`].
    pub more: bool,
    /// As in a [`RangeResponse`].
    pub count: u64,
}

impl<T, C: Codec<T>> TypedStore<T, C> {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, codec: PhantomData }
    }

    /// Writes `value` under `key`: see [`Put`]. One that cannot be encoded is
    /// [`is_invalid`](crate::Error::is_invalid), and nothing is written.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.typed::<Vec<u32>>();
    /// let before = sizes.put("shoes", &vec![41, 43]).prev_value().await?.prev_kv;
    /// let before = before.map(|kv| sizes.decode(kv)).transpose()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(&self, key: impl Into<Bytes>, value: &T) -> Put {
        let encoded = C::encode(value).map(Bytes::from).map_err(|cause| {
            let text = format!("the value cannot be encoded: {cause}");
            Error::invalid(text).because(cause)
        });
        self.store.put_encoded(key.into(), encoded)
    }

    /// Reads `key`: see [`TypedGet`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.typed::<Vec<u32>>().get("shoes").await?.map(|shoes| shoes.value);
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(&self, key: impl Into<Bytes>) -> TypedGet<T, C> {
        TypedGet { plain: self.store.get(key), codec: PhantomData }
    }

    /// Reads the keys of `range`: see [`TypedRangeRead`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// for sizes in store.typed::<Vec<u32>>().range(..).await?.kvs {
    ///     println!("{}: {:?}", sizes.kv.key().escape_ascii(), sizes.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(&self, range: impl Into<KeyRange>) -> TypedRangeRead<T, C> {
        TypedRangeRead { plain: self.store.range(range), codec: PhantomData }
    }

    /// Deletes a key, or the keys of a range: see [`Delete`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.typed::<Vec<u32>>().delete("shoes").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(&self, range: impl Into<KeyRange>) -> Delete {
        self.store.delete(range)
    }

    /// Watches a key or a range: see [`Watch`]. What it tells is to be
    /// [decoded](Self::decode), where it matters.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.typed::<Vec<u32>>();
    /// let mut watcher = sizes.watch("shoes").no_deletes().start()?;
    /// while let Some(batch) = watcher.next().await {
    ///     for event in batch? {
    ///         println!("{:?}", sizes.decode(event.kv().clone())?.value);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, range: impl Into<KeyRange>) -> Watch {
        self.store.watch(range)
    }

    /// Decodes what a plain call has given back.
    ///
    /// # Errors
    ///
    /// [`is_undecodable`](crate::Error::is_undecodable), with a text that names the key and the
    /// revision that wrote the value, and the codec's own error as its source.
    ///
    /// ```no_run
    /// # fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.typed::<Vec<u32>>();
    /// for chunk in store.stream(..) {
    ///     for kv in chunk? {
    ///         match sizes.decode(kv) {
    ///             Ok(typed) => println!("{:?}", typed.value),
    ///             Err(error) => println!("left out: {error}"),
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn decode(&self, kv: KeyValue) -> Result<Typed<T>> {
        decode::<T, C>(kv)
    }

    /// The plain handle.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let sizes = store.scoped("sizes/").typed::<Vec<u32>>();
    /// let count = sizes.store().range(..).count_only().await?.count;
    /// # Ok(())
    /// # }
    /// ```
    pub fn store(&self) -> &Store {
        &self.store
    }
}

fn decode<T, C: Codec<T>>(kv: KeyValue) -> Result<Typed<T>> {
    match C::decode(kv.value()) {
        Ok(value) => Ok(Typed { value, kv }),
        Err(cause) => {
            let (key, revision) = (kv.key().escape_ascii(), kv.mod_revision());
            let text = format!("the value of \"{key}\", of revision {revision}, is bad: {cause}");
            Err(Error::new(Kind::Undecodable, text).because(cause))
        }
    }
}

fn one<T, C: Codec<T>>(response: GetResponse) -> Result<Option<Typed<T>>> {
    response.kv.map(decode::<T, C>).transpose()
}

fn many<T, C: Codec<T>>(response: RangeResponse) -> Result<TypedRangeResponse<T>> {
    let RangeResponse { header, kvs, more, count } = response;
    let kvs = kvs.into_iter().map(decode::<T, C>).collect::<Result<_>>()?;
    Ok(TypedRangeResponse { header, kvs, more, count })
}

/// A read that decodes what the plain one gives back.
macro_rules! typed_read {
    (
        $(#[$doc:meta])*
        $builder:ident, $plain:ident -> $response:ty, $decode:ident, $make:literal
    ) => {
        $(#[$doc])*
        #[must_use = "nothing happens before it is awaited or waited for"]
        pub struct $builder<T, C = Json> {
            plain: $plain,
            codec: PhantomData<fn() -> (T, C)>,
        }

        impl<T, C: Codec<T>> $builder<T, C> {
            /// Sets options of the plain read.
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let sizes = store.typed::<Vec<u32>>();
            #[doc = concat!("let read = ", $make, ".with(|read| read.serializable()).await?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn with(self, options: impl FnOnce($plain) -> $plain) -> Self {
                Self { plain: options(self.plain), codec: PhantomData }
            }

            /// Blocks the thread until the answer is there. Not for a thread that runs futures:
            /// await the call there.
            ///
            /// # Errors
            ///
            /// Those of the plain read, and [`is_undecodable`](crate::Error::is_undecodable).
            ///
            /// ```no_run
            /// # fn example(store: quorate::Store) -> quorate::Result<()> {
            /// let sizes = store.typed::<Vec<u32>>();
            #[doc = concat!("let read = ", $make, ".wait()?;")]
            /// # Ok(())
            /// # }
            /// ```
            pub fn wait(self) -> Result<$response> {
                $decode::<T, C>(self.plain.wait()?)
            }
        }

        impl<T, C: Codec<T>> Future for $builder<T, C> {
            type Output = Result<$response>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                let response = Pin::new(&mut self.plain).poll(context);
                response.map(|response| $decode::<T, C>(response?))
            }
        }

        impl<T, C> fmt::Debug for $builder<T, C> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($builder)).field(&self.plain).finish()
            }
        }
    };
}

typed_read! {
    /// Reads one key and decodes its value: made by [`TypedStore::get`]. `None` if the key is not
    /// there.
    ///
    /// # Errors
    ///
    /// Those of [`Get`], and [`is_undecodable`](crate::Error::is_undecodable).
    TypedGet, Get -> Option<Typed<T>>, one, "sizes.get(\"shoes\")"
}

typed_read! {
    /// Reads the keys of a range and decodes their values: made by [`TypedStore::range`].
    ///
    /// One value that does not decode fails all of it. Where the others matter all the same, read
    /// plainly and [`decode`](TypedStore::decode) one by one. With
    /// [`keys_only`](RangeRead::keys_only) there is nothing to decode: that is for a plain read.
    ///
    /// # Errors
    ///
    /// Those of [`RangeRead`], and [`is_undecodable`](crate::Error::is_undecodable).
    TypedRangeRead, RangeRead -> TypedRangeResponse<T>, many, "sizes.range(..)"
}

impl<T, C> Clone for TypedStore<T, C> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), codec: PhantomData }
    }
}

impl<T, C> fmt::Debug for TypedStore<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedStore").field(&self.store).finish()
    }
}
