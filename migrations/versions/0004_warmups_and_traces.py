"""How long stages took to be warm, the trace that a job belongs to, and which jobs failed lately

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stage_warmups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("host_class", sa.Text(), nullable=False),
        sa.Column("stage", sa.Enum("stt", "llm", "tts", name="stage", native_enum=False, length=16), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=True),
        sa.Column("load_ms", sa.Double(), nullable=False),
        sa.Column("warmup_ms", sa.Double(), nullable=False),
        sa.Column("warm_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_warmups")),
    )
    op.create_index(
        op.f("ix_stage_warmups_host_class_stage_engine_model_device_warm_at"),
        "stage_warmups",
        ["host_class", "stage", "engine", "model", "device", "warm_at"],
        unique=False,
    )
    op.create_index(op.f("ix_stage_warmups_warm_at"), "stage_warmups", ["warm_at"], unique=False)
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), nullable=True))
    op.create_index(
        "ix_jobs_failed", "jobs", ["finished_at"], unique=False, postgresql_where=sa.text("state = 'failed'")
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_failed", table_name="jobs", postgresql_where=sa.text("state = 'failed'"))
    op.drop_column("jobs", "traceparent")
    op.drop_index(op.f("ix_stage_warmups_warm_at"), table_name="stage_warmups")
    op.drop_index(op.f("ix_stage_warmups_host_class_stage_engine_model_device_warm_at"), table_name="stage_warmups")
    op.drop_table("stage_warmups")
