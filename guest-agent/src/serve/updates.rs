//! A stream of one caller: what it may have now, and again whenever that becomes something else.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::sync::watch;
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::Status;

use super::{settings::Entry, world::World};

/// What a caller may have of a world.
pub(crate) type Read<M> = Box<dyn Fn(&World) -> Result<M, Status> + Send>;

/// Messages, each the whole state; ends with the first refusal.
pub(crate) struct Updates<M> {
    worlds: WatchStream<Arc<World>>,
    /// What the caller was matched against: other entries are another question.
    entries: Arc<[Entry]>,
    read: Read<M>,
    last: Option<M>,
    over: bool,
}

impl<M> Updates<M> {
    /// Of a caller that was matched against `entries`.
    pub(crate) fn new(worlds: watch::Receiver<Arc<World>>, entries: Arc<[Entry]>, read: Read<M>) -> Self {
        Self { worlds: WatchStream::new(worlds), entries, read, last: None, over: false }
    }
}

impl<M: Clone + PartialEq + Unpin> Stream for Updates<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            let Some(world) = ready!(Pin::new(&mut self.worlds).poll_next(context)) else {
                self.over = true;
                return Poll::Ready(Some(Err(Status::unavailable("the agent ends"))));
            };
            let read = if world.stopping {
                Err(Status::unavailable("the agent ends"))
            } else if !Arc::ptr_eq(&world.entries, &self.entries) {
                Err(Status::unavailable("the settings were read again"))
            } else {
                (self.read)(&world)
            };
            match read {
                Ok(message) if self.last.as_ref() == Some(&message) => {}
                Ok(message) => {
                    self.last = Some(message.clone());
                    return Poll::Ready(Some(Ok(message)));
                }
                Err(status) => {
                    self.over = true;
                    return Poll::Ready(Some(Err(status)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use tokio_stream::StreamExt;

    use super::*;

    fn count(world: &World) -> Result<usize, Status> {
        match world.tokens.len() {
            0 => Err(Status::permission_denied("none")),
            count => Ok(count),
        }
    }

    fn hold(sender: &watch::Sender<Arc<World>>, names: &[&str]) {
        World::change(sender, |world| {
            world.tokens.clear();
            for name in names {
                world.take(&crate::lease::Want::JwtSvid { name: (*name).into(), audience: "a".into() }, false);
            }
        });
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_message_comes_for_each_change_and_a_refusal_is_the_end() {
        let (sender, receiver) = watch::channel(Arc::new(World::default()));
        hold(&sender, &["a"]);
        let entries = Arc::clone(&sender.borrow().entries);
        let mut updates = Updates::new(receiver, entries, Box::new(count));
        assert_eq!(updates.next().await.unwrap().unwrap(), 1);
        hold(&sender, &["b"]);
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(20), updates.next()).await;
        assert!(quiet.is_err(), "what is the same is not said again");
        hold(&sender, &["a", "b"]);
        assert_eq!(updates.next().await.unwrap().unwrap(), 2);
        hold(&sender, &[]);
        assert_eq!(updates.next().await.unwrap().unwrap_err().code(), tonic::Code::PermissionDenied);
        assert!(updates.next().await.is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn other_entries_and_the_end_of_the_agent_end_streams() {
        for stop in [true, false] {
            let (sender, receiver) = watch::channel(Arc::new(World::default()));
            hold(&sender, &["a"]);
            let entries = Arc::clone(&sender.borrow().entries);
            let mut updates = Updates::new(receiver, entries, Box::new(count));
            assert!(updates.next().await.unwrap().is_ok());
            World::change(&sender, |world| {
                if stop {
                    world.stopping = true;
                } else {
                    world.entries = Vec::new().into();
                }
            });
            assert_eq!(updates.next().await.unwrap().unwrap_err().code(), tonic::Code::Unavailable);
            assert!(updates.next().await.is_none());
        }
    }
}
