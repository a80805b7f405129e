"""What callers were told, kept so that it can be held against what is there in the end."""

from __future__ import annotations

import random

from volflow.models import Attachment


class Ledger:
    """Promises that were made to callers.

    :ivar operations: the ids that callers chose, oldest first.
    :ivar kept: attachments that nobody asked to detach: id -> the attachment as it was told.
    :ivar gone: ids of attachments of which somebody heard that they are detached.
    """

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.kept: dict[str, Attachment] = {}
        self.gone: set[str] = set()

    def began(self, operation_id: str) -> None:
        """A caller is about to begin an operation."""
        self.operations.append(operation_id)

    def attached(self, attachment: Attachment, host: str) -> None:
        """A caller heard that it has an attachment."""
        self.kept[attachment.id] = attachment

    def leaves(self, attachment_id: str) -> None:
        """Somebody asks to detach it: from now on it may go."""
        self.kept.pop(attachment_id, None)

    def detached(self, attachment_id: str) -> None:
        """A caller heard that it is gone."""
        self.gone.add(attachment_id)

    def some_attachment(self, dice: random.Random) -> Attachment | None:
        """One that nobody detaches yet."""
        return dice.choice(list(self.kept.values())) if self.kept else None

    def some_operation(self, dice: random.Random) -> str | None:
        """One of the last few that were begun."""
        return dice.choice(self.operations[-6:]) if self.operations else None
