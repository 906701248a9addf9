"""options of jobs; degradations and progress of their stages

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    jsonb = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    op.add_column('jobs', sa.Column('options', jsonb, server_default=sa.text("'{}'"), nullable=False))
    op.add_column('stage_runs', sa.Column('degradations', jsonb, server_default=sa.text("'[]'"), nullable=False))
    op.add_column('stage_runs', sa.Column('progress', sa.REAL(), server_default=sa.text('0'), nullable=False))


def downgrade() -> None:
    op.drop_column('stage_runs', 'progress')
    op.drop_column('stage_runs', 'degradations')
    op.drop_column('jobs', 'options')
