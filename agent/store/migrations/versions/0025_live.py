"""What was understood while a call went on, until its recording is transcribed."""

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass
