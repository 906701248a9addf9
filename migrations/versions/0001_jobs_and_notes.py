"""jobs and notes

Revision ID: 0001
Revises: 
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table('doomed_blobs',
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('doomed_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_doomed_blobs'))
    )
    op.create_table('notes',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('key', sa.Text(), nullable=False),
    sa.Column('media_type', sa.Text(), nullable=False),
    sa.Column('container', sa.Text(), nullable=False),
    sa.Column('codec', sa.Text(), nullable=False),
    sa.Column('sample_rate', sa.Integer(), nullable=False),
    sa.Column('channels', sa.Integer(), nullable=False),
    sa.Column('seconds', sa.Double(), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('sha256', sa.Text(), nullable=False),
    sa.Column('file_name', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_notes')),
    sa.UniqueConstraint('key', name=op.f('uq_notes_key'))
    )
    op.create_table('jobs',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.Enum('voice_note', 'transcription', 'chat', 'reply', 'speech', name='kind', native_enum=False, length=16), nullable=False),
    sa.Column('state', sa.Enum('queued', 'running', 'succeeded', 'failed', 'canceled', name='jobstate', native_enum=False, length=16), nullable=False),
    sa.Column('stage', sa.Enum('stt', 'llm', 'tts', name='stage', native_enum=False, length=16), nullable=False),
    sa.Column('priority', sa.Enum('high', 'normal', 'low', name='priority', native_enum=False, length=16), nullable=False),
    sa.Column('note_id', sa.Uuid(), nullable=True),
    sa.Column('text', sa.Text(), nullable=True),
    sa.Column('language', sa.Text(), nullable=True),
    sa.Column('instructions', sa.Text(), nullable=True),
    sa.Column('voice', sa.Text(), nullable=True),
    sa.Column('audio_format', sa.Text(), nullable=False),
    sa.Column('metadata', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
    sa.Column('error', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('lost_leases', sa.Integer(), nullable=False),
    sa.Column('worker', sa.Text(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('due_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('hinted_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name=op.f('ck_jobs_lease')),
    sa.CheckConstraint("(state IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)", name=op.f('ck_jobs_finished')),
    sa.CheckConstraint("kind IN ('voice_note', 'transcription', 'chat', 'reply', 'speech')", name=op.f('ck_jobs_kind')),
    sa.CheckConstraint("stage IN ('stt', 'llm', 'tts')", name=op.f('ck_jobs_stage')),
    sa.CheckConstraint("priority IN ('high', 'normal', 'low')", name=op.f('ck_jobs_priority')),
    sa.CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'canceled')", name=op.f('ck_jobs_state')),
    sa.ForeignKeyConstraint(['note_id'], ['notes.id'], name=op.f('fk_jobs_note_id_notes')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_jobs'))
    )
    op.create_index(op.f('ix_jobs_note_id'), 'jobs', ['note_id'], unique=False)
    op.create_index('ix_jobs_queued', 'jobs', ['stage', 'due_at'], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index('ix_jobs_running', 'jobs', ['stage', 'lease_until'], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.create_index(op.f('ix_jobs_state_id'), 'jobs', ['state', 'id'], unique=False)
    op.create_table('stage_runs',
    sa.Column('job_id', sa.Uuid(), nullable=False),
    sa.Column('stage', sa.Enum('stt', 'llm', 'tts', name='stage', native_enum=False, length=16), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('state', sa.Enum('pending', 'running', 'succeeded', 'failed', 'skipped', 'canceled', name='runstate', native_enum=False, length=16), nullable=False),
    sa.Column('failures', sa.Integer(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('engine', sa.Text(), nullable=True),
    sa.Column('model', sa.Text(), nullable=True),
    sa.Column('ready_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('run_ms', sa.Double(), nullable=True),
    sa.Column('batch_size', sa.Integer(), nullable=True),
    sa.Column('result', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
    sa.CheckConstraint("stage IN ('stt', 'llm', 'tts')", name=op.f('ck_stage_runs_stage')),
    sa.CheckConstraint("state IN ('pending', 'running', 'succeeded', 'failed', 'skipped', 'canceled')", name=op.f('ck_stage_runs_state')),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], name=op.f('fk_stage_runs_job_id_jobs'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('job_id', 'stage', name=op.f('pk_stage_runs'))
    )



def downgrade() -> None:

    op.drop_table('stage_runs')
    op.drop_index(op.f('ix_jobs_state_id'), table_name='jobs')
    op.drop_index('ix_jobs_running', table_name='jobs', postgresql_where=sa.text("state = 'running'"))
    op.drop_index('ix_jobs_queued', table_name='jobs', postgresql_where=sa.text("state = 'queued'"))
    op.drop_index(op.f('ix_jobs_note_id'), table_name='jobs')
    op.drop_table('jobs')
    op.drop_table('notes')
    op.drop_table('doomed_blobs')

