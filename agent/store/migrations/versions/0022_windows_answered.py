"""A transcription cut off goes on where it was, and says how far it is."""

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
