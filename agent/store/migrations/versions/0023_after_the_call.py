"""What is done with a transcript: masks, glossary, figures of sound."""

revision = '0023'
down_revision = '0022'
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
